"""The command line: `lowerbound compare`, `fit`, `select`, `impute` and `datasets`.

What lives here: `app` lists the commands, a file `..._command.py` holds each of the longer ones, `common_options` the
options that several share. `models_by_name` and `engines_by_name` list what `--model` and `--engine` accept.

What a new thing here must offer: a model or an engine is one line in its table, after which every command accepts it.
A command is a function that `app` registers. It checks all options before the fit starts, and wraps its body in
`errors_as_one_line`.

What it may import: everything below `inference.cli`; nothing imports it.
"""

from .app import app, main

__all__ = ["app", "main"]
