"""Views of a table: a range of its rows, a subset of them, or its columns and categories in another order."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from .schema import Schema
from .table import Index, Table


class TableView(Table):
    """A view that reads another table. Each kind of view overrides what differs from that table."""

    def __init__(self, table: Table):
        self.table = table
        self.in_memory, self.is_fixed, self.is_random_access = table.in_memory, table.is_fixed, table.is_random_access
        self.first_row = table.first_row

    def __len__(self) -> int:
        return len(self.table)

    @property
    def schema(self) -> Schema | None:  # type: ignore[override]
        """The schema of the table."""
        return self.table.schema

    @property
    def features(self) -> int:
        """The number of columns."""
        return self.table.features

    @property
    def dtypes(self) -> list[Any] | None:
        """Those of the table."""
        return self.table.dtypes

    def read(self, index: Index) -> Any:
        """The rows as the table reads them."""
        return self.table.read(index)

    def part(self, start: int, stop: int) -> Table:
        """A view of this view."""
        return RowRange(self, start, stop)

    def conformed(self, schema: Schema) -> Table:
        """This view with columns and categories in the order of `schema`, if the table has names."""
        return self if self.schema in (None, schema) else ConformedTable(self, schema)


class RowRange(TableView):
    """Rows start .. stop - 1 of a table."""

    def __init__(self, table: Table, start: int, stop: int):
        super().__init__(table)
        self.start, self.stop, self.first_row = start, stop, table.first_row + start

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def runs(self) -> list[tuple[int, int]]:
        """The runs of the table, cut to this range."""
        cut = ((max(a, self.start), min(b, self.stop)) for a, b in self.table.runs)
        return [(a - self.start, b - self.start) for a, b in cut if a < b]

    def read(self, index: Index) -> Any:
        """The rows, shifted by the start of the range."""
        if isinstance(index, slice):
            return self.table.read(slice(self.start + index.start, self.start + index.stop))
        return self.table.read(self.start + index)


class RowSubset(TableView):
    """The rows of a table that a mask selects, computed window by window.

    `mask(number, n)` is the boolean mask of the n rows of window `number`; each window has `width` rows.
    """

    def __init__(self, table: Table, mask: Callable[[int, int], np.ndarray], width: int):
        super().__init__(table)
        self.mask, self.width, self.first_row = mask, width, 0
        counts = [int(self._mask_of(number).sum()) for number in range(-(-len(table) // width))]
        self.edges = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return int(self.edges[-1])

    def read(self, index: Index) -> Any:
        """The selected rows with these ranks."""
        ranks = np.arange(index.start, index.stop) if isinstance(index, slice) else index.numpy()
        window = np.searchsorted(self.edges, ranks, side="right") - 1
        rows = np.empty_like(ranks)
        for number in np.unique(window).tolist():
            own = window == number
            rows[own] = number * self.width + np.flatnonzero(self._mask_of(number))[ranks[own] - self.edges[number]]
        return self.table.read(torch.from_numpy(rows))

    def _mask_of(self, number: int) -> np.ndarray:
        return self.mask(number, min(self.width, len(self.table) - number * self.width))


class ConformedTable(TableView):
    """A table with its columns and categories in the order of another schema (`Schema.conform`)."""

    def __init__(self, table: Table, schema: Schema):
        super().__init__(table)
        self.target = schema

    @cached_property
    def schema(self) -> Schema:  # type: ignore[override]
        """The schema of the rows after they were reordered."""
        return Schema.of(self.read(slice(0, 1)))

    @property
    def features(self) -> int:
        """The number of columns that are left."""
        return len(self.target.columns)

    @property
    def dtypes(self) -> list[Any]:
        """Those after they were reordered."""
        return list(self.read(slice(0, 1)).dtypes)

    @property
    def runs(self) -> list[tuple[int, int]]:
        """The runs of the table."""
        return self.table.runs

    def read(self, index: Index) -> pd.DataFrame:
        """The rows, reordered by `Schema.conform`."""
        numbers = range(index.start, index.stop) if isinstance(index, slice) else index
        return self.target.conform(self.table.read(index), numbers)

    def part(self, start: int, stop: int) -> Table:
        """The part of the table, reordered."""
        return ConformedTable(self.table.part(start, stop), self.target)


class NamedTable(TableView):
    """A table of numbers without names, as one with the names "column 0", "column 1", ..."""

    @property
    def schema(self) -> Schema:  # type: ignore[override]
        """The names."""
        return Schema.plain(self.features)

    def read(self, index: Index) -> pd.DataFrame:
        """The rows with names."""
        return pd.DataFrame(np.asarray(self.table.read(index)), columns=list(self.schema.columns))

    def part(self, start: int, stop: int) -> Table:
        """The part of the table, with names."""
        return NamedTable(self.table.part(start, stop))
