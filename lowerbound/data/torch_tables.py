"""Tables of torch.utils.data: Datasets and DataLoaders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from .input_checks import as_tensor
from .table import Index, Table


class Items(Table):
    """A map-style Dataset."""

    in_memory = is_fixed = False

    def __init__(self, x: Any):
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    @property
    def features(self) -> int:
        """The number of columns of the first row."""
        return as_tensor(self.read(slice(0, 1)), finite=False).shape[1]

    def read(self, index: Index) -> Tensor:
        """All together, if the dataset can, as torch's DataLoader asks for a batch."""
        numbers = list(range(index.start, index.stop)) if isinstance(index, slice) else index.tolist()
        many = getattr(self.x, "__getitems__", None)
        items = many(numbers) if many else [self.x[i] for i in numbers]
        return items if isinstance(items, Tensor) else torch.stack([torch.as_tensor(_first(item)) for item in items])


class Loader(Table):
    """A DataLoader: its batches are the pieces, and come as it pleases."""

    in_memory = is_fixed = False

    def __init__(self, x: DataLoader):
        if x.drop_last:
            raise ValueError("the DataLoader drops its last batch, expected all rows in each pass: use drop_last=False")
        self.x = x
        self.in_batches = x.batch_size or len(self)

    def __len__(self) -> int:
        return len(self.x.dataset)  # type: ignore[arg-type]

    @property
    def features(self) -> int:
        """The number of columns of the first batch."""
        return as_tensor(next(self.pieces(1))[1], finite=False).shape[1]

    def pieces(self, size: int) -> Iterator[tuple[int, Any]]:
        """Its own batches, of whatever size."""
        start = 0
        for batch in self.x:
            x = _first(batch)
            yield start, x
            start += len(x)

    def read(self, index: Index) -> Any:
        """Raises TypeError."""
        raise TypeError("got a DataLoader, expected a table that can be read anywhere: pass its dataset instead")

    def part(self, start: int, stop: int) -> Table:
        """Raises TypeError."""
        return self.read(slice(start, stop))


def _first(item: Any) -> Any:
    """The row(s) of a dataset item or batch, which may come with a target: (x, y) -> x."""
    return item[0] if isinstance(item, tuple | list) else item
