"""Tables: everything rows can be read from, behind one small interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .schema import Schema

RUNS = 1 << 16  # stretches of neighbouring rows, at most, that are put in random order as they are
SCATTERED_ROWS = 1 << 22  # whose random order is held at a time where any row is read as fast as its neighbour
WINDOW_CELLS = 1 << 22  # that are read and put in random order at a time where it is not: 32 MiB

Index = slice | Tensor  # of consecutive rows, or row numbers


class Table:
    """Rows that can be read anywhere. A kind of table writes `__len__`, `features` and `read`."""

    schema: Schema | None = None  # names of columns and words of categories, where it has some
    first = 0  # the number of its first row in the table that it is a part of
    in_memory = True
    is_ready = False  # consecutive rows are float64 numbers in memory, and read without a copy
    is_fixed = True  # every reading gives the same rows: a Dataset may draw them
    is_scattered = True  # any row is read as fast as its neighbour
    in_batches: int | None = None  # the size of the batches it comes in, where that is someone else's choice

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def features(self) -> int:
        """The number of columns."""
        raise NotImplementedError

    def read(self, index: Index) -> Any:
        """These rows, in this order: a tensor, array or DataFrame, as `as_tensor` takes it."""
        raise NotImplementedError

    def whole(self) -> Any:
        """All rows, in memory."""
        return self.read(slice(0, len(self)))

    def pieces(self, size: int) -> Iterator[tuple[int, Any]]:
        """All rows in turn, at most `size` at a time, each piece with the number of its first row."""
        for start in range(0, len(self), size):
            yield start, self.read(slice(start, min(start + size, len(self))))

    def part(self, start: int, stop: int) -> Table:
        """Rows start .. stop - 1, without reading any."""
        return Part(self, start, stop)

    def conformed(self, schema: Schema) -> Table:
        """This table with its columns and words in the order of another, if it has names."""
        return self

    @property
    def window(self) -> int:
        """How many rows to put in random order at a time."""
        return SCATTERED_ROWS if self.is_scattered else max(1, WINDOW_CELLS // self.features)

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Stretches of neighbouring rows that are quick to read together: first row, and the one after the last."""
        n, size = len(self), -(-len(self) // RUNS)
        return [(start, min(start + size, n)) for start in range(0, n, size)]


class View(Table):
    """Some view of another table: as that one, unless a kind of view says otherwise."""

    def __init__(self, table: Table):
        self.table = table
        self.in_memory, self.is_fixed, self.is_scattered = table.in_memory, table.is_fixed, table.is_scattered
        self.first = table.first

    def __len__(self) -> int:
        return len(self.table)

    @property
    def schema(self) -> Schema | None:  # type: ignore[override]
        """That of the table."""
        return self.table.schema

    @property
    def features(self) -> int:
        """The number of columns."""
        return self.table.features

    def read(self, index: Index) -> Any:
        """As the table reads it."""
        return self.table.read(index)

    def conformed(self, schema: Schema) -> Table:
        """This table with its columns and words in the order of another, if it has names."""
        return self if self.schema in (None, schema) else Conformed(self, schema)


class Part(View):
    """Rows start .. stop - 1 of a table."""

    def __init__(self, table: Table, start: int, stop: int):
        super().__init__(table)
        self.start, self.stop, self.first = start, stop, table.first + start

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def runs(self) -> list[tuple[int, int]]:
        """What is left of those of the table."""
        cut = ((max(a, self.start), min(b, self.stop)) for a, b in self.table.runs)
        return [(a - self.start, b - self.start) for a, b in cut if a < b]

    def read(self, index: Index) -> Any:
        """Rows of the table, further on."""
        if isinstance(index, slice):
            return self.table.read(slice(self.start + index.start, self.start + index.stop))
        return self.table.read(self.start + index)


class Picked(View):
    """The rows of a table that a mask picks: mask(number, n) is that of the n rows of a window, each of `width`."""

    def __init__(self, table: Table, mask: Callable[[int, int], np.ndarray], width: int):
        super().__init__(table)
        self.mask, self.width, self.first = mask, width, 0
        counts = [int(self._picked(number).sum()) for number in range(-(-len(table) // width))]
        self.edges = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return int(self.edges[-1])

    def read(self, index: Index) -> Any:
        """Their rows of the table."""
        ranks = np.arange(index.start, index.stop) if isinstance(index, slice) else index.numpy()
        window = np.searchsorted(self.edges, ranks, side="right") - 1
        rows = np.empty_like(ranks)
        for number in np.unique(window).tolist():
            own = window == number
            rows[own] = number * self.width + np.flatnonzero(self._picked(number))[ranks[own] - self.edges[number]]
        return self.table.read(torch.from_numpy(rows))

    def _picked(self, number: int) -> np.ndarray:
        return self.mask(number, min(self.width, len(self.table) - number * self.width))


class Conformed(View):
    """A table with its columns and words in the order of another."""

    def __init__(self, table: Table, schema: Schema):
        super().__init__(table)
        self.known = schema

    @cached_property
    def schema(self) -> Schema:  # type: ignore[override]
        """The order."""
        return Schema.of(self.read(slice(0, 1)))

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Those of the table."""
        return self.table.runs

    def read(self, index: Index) -> pd.DataFrame:
        """As `Schema.conform` has it."""
        numbers = range(index.start, index.stop) if isinstance(index, slice) else index
        return self.known.conform(self.table.read(index), numbers)

    def part(self, start: int, stop: int) -> Table:
        """The part, in this order."""
        return Conformed(self.table.part(start, stop), self.known)
