"""The interface through which every kind of table is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from .schema import Schema

RUNS = 1 << 16  # at most so many runs of neighbouring rows are put in random order
SCATTERED_ROWS = 1 << 22  # rows shuffled at a time where any row is read as fast as its neighbour
WINDOW_CELLS = 1 << 22  # values read and shuffled at a time where that is not so: 32 MiB

Index = slice | Tensor  # consecutive rows, or row numbers


class Table:
    """Rows that can be read in any order. A kind of table writes `__len__`, `features`, `read` and `part`.

    Example:
        >>> import numpy as np
        >>> from lowerbound.data import as_table
        >>> table = as_table(np.arange(6.0).reshape(3, 2))
        >>> len(table), table.features, table.read(slice(0, 1)).tolist()
        (3, 2, [[0.0, 1.0]])
    """

    schema: Schema | None = None  # names of columns and categories, where the table has them
    first_row = 0  # the number of the first row, if this is a part of a larger table
    in_memory = True
    is_zero_copy = False  # whether consecutive rows are float64 numbers in memory, which are read without a copy
    is_fixed = True  # whether every reading gives the same rows: a Dataset may draw them at random
    is_random_access = True  # whether any row is read as fast as its neighbour
    in_batches: int | None = None  # the batch size, where the table chooses it itself (DataLoader)

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def features(self) -> int:
        """The number of columns."""
        raise NotImplementedError

    def read(self, index: Index) -> Any:
        """These rows, in this order: a tensor, array or DataFrame, as `as_tensor` takes it."""
        raise NotImplementedError

    def part(self, start: int, stop: int) -> Table:
        """Rows start .. stop - 1, without reading any."""
        raise NotImplementedError

    def read_all(self) -> Any:
        """All rows, in memory."""
        return self.read(slice(0, len(self)))

    def pieces(self, size: int) -> Iterator[tuple[int, Any]]:
        """All rows in turn, at most `size` at a time: (number of the first row, rows)."""
        for start in range(0, len(self), size):
            yield start, self.read(slice(start, min(start + size, len(self))))

    @property
    def dtypes(self) -> list[Any] | None:
        """The pandas type of each column, if the table has names."""
        return None

    def conformed(self, schema: Schema) -> Table:
        """This table with columns and categories in the order of `schema`, if it has names."""
        return self

    @property
    def window_rows(self) -> int:
        """How many rows are shuffled at a time."""
        return SCATTERED_ROWS if self.is_random_access else max(1, WINDOW_CELLS // self.features)

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Runs of neighbouring rows that are fast to read together, as (first row, last row + 1)."""
        n, size = len(self), -(-len(self) // RUNS)
        return [(start, min(start + size, n)) for start in range(0, n, size)]
