"""A table split at random into training rows and held-out rows."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from .open_table import as_table
from .row_reader import CHUNK_ROWS
from .seeds import require_seed
from .table import SCATTERED_ROWS
from .table_views import RowSubset


def split(table: Any, share: float, seed: int) -> tuple[Any, Any]:
    """Split a table at random into training rows and held-out rows, each in their order.

    Args:
        table: (n, d), whatever `read` returns.
        share: of the rows that are held out, between 0 and 1.
        seed: of the random choice, which is the same each time.

    Returns:
        (training rows, held-out rows). Of a table in a file these are views. If it has more than 4 million rows, the
        share is drawn from each block of 65,536 rows.

    Raises:
        ValueError: the share leaves no row on one side.

    Example:
        >>> from lowerbound.data import read, split
        >>> training, held_out = split(read("faithful"), 0.25, seed=0)
        >>> len(training), len(held_out)
        (204, 68)
    """
    seed = require_seed(seed)
    if not 0 < share < 1 or not 0 < round(share * len(table)) < len(table):
        raise ValueError(
            f"share is {share!r} of {len(table)} rows, expected a number between 0 and 1 that leaves rows on both sides"
        )
    opened = as_table(table)
    # each window is drawn on its own, so that no mask of all rows is held
    width = len(table) if opened.in_memory or len(table) <= SCATTERED_ROWS else CHUNK_ROWS

    @lru_cache(2)  # a window is asked for once for its length and again for its rows
    def chosen(window: int, rows: int) -> np.ndarray:
        before, after = (round(share * end) for end in (window * width, window * width + rows))
        mask = np.zeros(rows, dtype=bool)
        random = np.random.default_rng(seed if width == len(table) else [seed, window])
        mask[random.permutation(rows)[: after - before]] = True
        return mask

    if opened.in_memory:
        mask = chosen(0, len(table))
        indexed = table.loc if isinstance(table, pd.DataFrame) else table
        return indexed[~mask], indexed[mask]
    return RowSubset(opened, lambda window, rows: ~chosen(window, rows), width), RowSubset(opened, chosen, width)
