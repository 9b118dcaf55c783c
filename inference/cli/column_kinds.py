"""Columns of categories: their levels, and which columns hold none."""

from __future__ import annotations

import torch
from torch import Tensor

from ...data.column_values import column_values
from ...data.kinds_of_numbers import MOST_LEVELS
from ...data.kinds_of_words import MOST_WORDS
from ...data.schema import Schema
from ...models import Rows


def schema_of_codes(rows: Rows) -> Schema | None:
    """The schema in which only levels that occur count: of words, and of whole numbers such as answers from 1 to 5.

    None if the table has it already.
    """
    own = rows.schema or Schema.plain(rows.features)
    levels = []
    for values, words in zip(column_values(rows), own.levels, strict=True):
        if words is not None:
            levels.append(tuple(words[int(code)] for code in values.values))
        elif values.is_whole and values.low >= 0 and values.is_complete and values.distinct <= MOST_LEVELS:
            levels.append(values.codes)
        else:
            levels.append(None)
    return None if tuple(levels) == own.levels else Schema(own.columns, tuple(levels))


def category_counts(rows: Rows) -> list[int]:
    """The number of categories of each column: for a column of words its levels, for codes the largest code plus 1.

    Raises ValueError, naming the column, if it holds other numbers than codes, or more than 1000 codes.
    """
    named = [None if words is None else len(words) for words in rows.levels]
    are_codes, largest = scan_columns(rows)
    for j, name in enumerate(rows.columns):
        if named[j] is None and not are_codes[j]:
            raise ValueError(
                f"column {name!r} holds other numbers than 0, 1, 2, ..., expected the codes of categories: "
                "--model mixed accepts measurements, too"
            )
        if (named[j] or largest[j] + 1) > MOST_LEVELS:
            raise ValueError(
                f"column {name!r} holds numbers up to {largest[j]:g}, expected the codes of {MOST_LEVELS} categories "
                "at most: --model mixed accepts such numbers"
            )
    require_repeated_words(rows)
    return [int(largest[j]) + 1 if words is None else words for j, words in enumerate(named)]


def scan_columns(rows: Rows) -> tuple[list[bool], list[float]]:
    """For each column, whether it holds only 0, 1, 2, ..., and its largest number, at least 0."""

    def scan() -> Tensor:
        """(2, d): 0 for columns of only such numbers, else 1; and the largest number."""
        found = torch.zeros(2, rows.features, dtype=torch.float64)
        for chunk in rows.chunks():
            x = torch.where(chunk.x.isnan(), 0.0, chunk.x)  # a missing value fits any kind
            odd = (x < 0) | (x != x.floor())
            found = torch.maximum(found, torch.stack([odd.any(0).double(), x.amax(0).double()]))
        return found

    odd, largest = rows.reduced(scan, torch.maximum)
    return (odd == 0).tolist(), largest.tolist()


def require_repeated_words(rows: Rows) -> None:
    """Raise ValueError for a column in which words hardly ever repeat, such as names."""
    for name, words in zip(rows.columns, rows.levels, strict=True):
        if words is not None and len(words) > max(MOST_WORDS, len(rows) / 2):
            raise ValueError(
                f"column {name!r} holds {len(words)} different words in {len(rows)} rows, expected categories that "
                "many rows share: drop the column, or, if it should hold numbers, correct the values that are not "
                "numbers"
            )
