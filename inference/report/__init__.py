"""What a result looks like: tables in plain text, the report of a comparison, and the figures.

What lives here: `comparison_text` and `selection_text` write the tables that `print` shows, `write_report` the folder
with a page, figures and CSV files; `plots` holds the figures, public as `lowerbound.inference.plots`.

What a new thing here must offer: it reads a finished `Comparison` or `Selection` and does not change it. It asks for
abilities of a model by the protocols of `models.abilities`. A score that `Comparison.frame()` gains is one line in
`score_table.SCORES` and then appears in tables and reports; a term of it is one line in `glossary`.

What it may import: `inference.criticism` and the folders below it; nothing of `inference.cli`. Results reach their
renderer by `inference.upward`.
"""
