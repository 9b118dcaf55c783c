"""Tables in pandas DataFrames."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pandas as pd
from torch import Tensor

from .input_checks import as_tensor
from .schema import Schema
from .table import Index, Table

CACHED_CELLS = 1 << 20  # a DataFrame of at most so many values is converted once (8 MiB): pandas selects rows slowly


class DataFrameTable(Table):
    """A DataFrame. Category columns are read as codes, in the order of `.cat.categories`."""

    def __init__(self, x: pd.DataFrame, first_row: int = 0):
        self.x, self.first_row = x, first_row

    def __len__(self) -> int:
        return len(self.x)

    @property
    def features(self) -> int:
        """The number of columns. Raises TypeError if one holds neither numbers nor categories."""
        return as_tensor(self.x.iloc[:1], finite=False).shape[1]

    @cached_property
    def schema(self) -> Schema:  # type: ignore[override]
        """The names of columns and categories."""
        return Schema.of(self.x)

    @property
    def dtypes(self) -> list[Any]:
        """The type of each column."""
        return list(self.x.dtypes)

    @cached_property
    def _tensor(self) -> Tensor:
        return as_tensor(self.x, finite=False)

    def read(self, index: Index) -> Any:
        """The rows of a small table as a tensor, of a large one as a DataFrame."""
        if self.x.size <= CACHED_CELLS:
            return self._tensor[index]
        return self.x.iloc[index if isinstance(index, slice) else index.numpy()]

    def read_all(self) -> pd.DataFrame:
        """The DataFrame itself."""
        return self.x

    def part(self, start: int, stop: int) -> Table:
        """A view of these rows."""
        return DataFrameTable(self.x.iloc[start:stop], self.first_row + start)

    def conformed(self, schema: Schema) -> Table:
        """The table with its columns and categories reordered by `Schema.conform`."""
        x = schema.conform(self.x)
        return self if x is self.x else DataFrameTable(x, self.first_row)
