"""One table for several models, some of which may take columns for categories that others take for numbers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from ...data.model_abilities import remembered_schema, takes_missing
from ...data.rows import as_rows
from ...data.schema import Schema
from ...models import Rows


def rows_of_models(x: Any, weights: Any, labels: Any, models: Mapping[str, Any]) -> Rows:
    """The rows of x for all of these models, with missing values if one of them takes them.

    They are read as the models remember them. If the models read them in several ways, answers from 1 to 5 as numbers
    and as categories, the rows keep the numbers: `rows.conformed(model)` are those of one model.
    """
    first = next((model for model in models.values() if takes_missing(model)), next(iter(models.values())))
    own = remembered_schema(first)
    if all(remembered_schema(model) == own for model in models.values()):
        return as_rows(x, weights, labels, first)
    if isinstance(x, Rows):
        rows = as_rows(x, weights, labels)
    else:
        rows = Rows(x, weights, labels, missing=takes_missing(first))
    known = next(own for model in models.values() if (own := remembered_schema(model)) is not None)
    plain = rows.schema or Schema.plain(rows.features)
    levels = dict(zip(plain.columns, plain.levels, strict=True))
    if not set(known.columns) <= levels.keys():
        return as_rows(x, weights, labels, first)  # raises, with a sentence about the columns
    kept = Schema(known.columns, tuple(levels[name] for name in known.columns))
    return rows if kept == plain else rows.with_schema(kept)


def require_one_coding(schemas: Mapping[str, Schema | None]) -> None:
    """Raise ValueError, with two names and the column, if one takes its numbers for categories, another as they are.

    schemas: of the models by name, None of those that know no names.
    """
    known = {name: dict(zip(own.columns, own.levels, strict=True)) for name, own in schemas.items() if own is not None}
    for (one, levels), (other, theirs) in itertools.permutations(known.items(), 2):
        for column, words in levels.items():
            if words is not None and theirs.get(column, words) is None:
                raise ValueError(
                    f"{one} takes column {column!r} for categories and {other} takes it for numbers, expected fits "
                    "that read a column in one way: compare them by select"
                )
