"""Conformance checks for authors: does a family or a model of your own keep its contract on rows that you have?

`check_family` tries a `Family` and the abilities on its class line, `check_model` any `LatentModel`. Each is silent if
all is well, and raises ValueError with one sentence at the first thing that is not. A new contract brings its check
here. Imports: all of models, no engine.
"""
