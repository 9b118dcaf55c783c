"""Columns of categories for models of categories alone: their levels, or why a column holds none."""

from __future__ import annotations

from collections.abc import Mapping

from ...data.kinds_of_numbers import MOST_LEVELS
from ...data.kinds_of_words import hardly_repeat
from ...data.schema import Schema
from ...models import Rows

NONE: Mapping[str, tuple[str, ...]] = {}


def categories_of(rows: Rows, decided: Mapping[str, tuple[str, ...]] = NONE) -> tuple[Schema, list[int]]:
    """The columns with the levels that occur, of words or of whole numbers such as answers from 1 to 5; their counts.

    A column of 0, 1, 2, ... without a gap keeps its numbers, which are codes already. decided: levels of some columns,
    as another model has them. Raises ValueError, naming the column, if it holds other numbers than codes, more than
    1000 of them, or words that hardly repeat.
    """
    own, levels = rows.schema or Schema.plain(rows.features), []
    require_repeated_words(rows)
    for name, values, words in zip(own.columns, rows.column_values, own.levels, strict=True):
        if words is not None:
            levels.append(tuple(words[int(code)] for code in values.values) or words)
            continue
        if not values.is_whole or values.low < 0:
            raise ValueError(
                f"column {name!r} holds other numbers than 0, 1, 2, ..., expected the codes of categories: "
                "--model mixed accepts measurements, too"
            )
        if values.distinct > MOST_LEVELS or not values.is_complete:
            raise ValueError(
                f"column {name!r} holds numbers up to {values.high:g}, more than {MOST_LEVELS} different ones, "
                f"expected the codes of {MOST_LEVELS} categories at most: --model mixed accepts such numbers"
            )
        levels.append(decided.get(name, values.codes))
    counts = [
        max(1, values.distinct if words is None else len(words))
        for values, words in zip(rows.column_values, levels, strict=True)
    ]
    return Schema(own.columns, tuple(levels)), counts


def require_repeated_words(rows: Rows) -> None:
    """Raise ValueError for a column in which words hardly ever repeat, such as names."""
    for name, values, words in zip(rows.columns, rows.column_values, rows.levels, strict=True):
        if words is not None and hardly_repeat(values):
            raise ValueError(
                f"column {name!r} holds {values.distinct} different words in {values.count} rows, expected categories "
                "that many rows share: drop the column, or, if it should hold numbers, correct the values that are not "
                "numbers"
            )
