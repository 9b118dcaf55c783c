"""Tables in pandas DataFrames."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pandas as pd
from torch import Tensor

from .input_checks import as_tensor
from .schema import Schema
from .table import Index, Table

KEPT_CELLS = 1 << 20  # of a DataFrame whose numbers are kept, 8 MiB: pandas takes its time to pick rows


class Frame(Table):
    """A DataFrame; of category columns the codes are read, as pandas orders them."""

    def __init__(self, x: pd.DataFrame, first: int = 0):
        self.x, self.first = x, first

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

    @cached_property
    def _numbers(self) -> Tensor:
        return as_tensor(self.x, finite=False)

    def read(self, index: Index) -> Any:
        """The rows of a small table as numbers, of a large one as a DataFrame."""
        if self.x.size <= KEPT_CELLS:
            return self._numbers[index]
        return self.x.iloc[index if isinstance(index, slice) else index.numpy()]

    def whole(self) -> pd.DataFrame:
        """The DataFrame itself."""
        return self.x

    def part(self, start: int, stop: int) -> Table:
        """A view."""
        return Frame(self.x.iloc[start:stop], self.first + start)

    def conformed(self, schema: Schema) -> Table:
        """See `Schema.conform`."""
        x = schema.conform(self.x)
        return self if x is self.x else Frame(x, self.first)
