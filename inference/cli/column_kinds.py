"""What the columns of a table hold: categories, 0 and 1, counts, or measurements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...models import Rows

MOST_LEVELS = 1000  # a column with more codes holds something else, and its probabilities would fill the memory
MOST_WORDS = 20  # categories that a column may have however few rows there are


def with_categories(table: Any) -> Any:
    """The table with columns of whole numbers as categories if they leave out a code, such as answers from 1 to 5.

    Only numbers that occur are then levels of the column.
    """
    if not isinstance(table, pd.DataFrame):
        return table
    incomplete = [
        name
        for name in table
        if pd.api.types.is_numeric_dtype(table[name])
        and (found := np.unique(table[name].dropna().to_numpy(dtype=np.float64))).size
        and (found == found.round()).all()
        and found.size < found.max() + 1 <= MOST_LEVELS
        and found.min() >= 0
    ]
    as_categories = {name: table[name].astype("Int64").astype("category") for name in incomplete}
    return table.assign(**{str(name): column for name, column in as_categories.items()}) if as_categories else table


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
                "at most: --model mixed treats it as counts"
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
