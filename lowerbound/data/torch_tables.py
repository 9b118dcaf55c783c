"""Tables of torch.utils.data: Datasets and DataLoaders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from .input_checks import as_tensor
from .table import Index, Table
from .table_views import RowRange


class DatasetTable(Table):
    """A map-style Dataset. Only x is read from items (x, y)."""

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
        """The rows, in one request if the dataset has `__getitems__`."""
        numbers = list(range(index.start, index.stop)) if isinstance(index, slice) else index.tolist()
        read_many = getattr(self.x, "__getitems__", None)  # optional in torch's Dataset; DataLoader asks the same way
        items = read_many(numbers) if read_many else [self.x[i] for i in numbers]
        return (
            items if isinstance(items, Tensor) else torch.stack([torch.as_tensor(_without_y(item)) for item in items])
        )

    def part(self, start: int, stop: int) -> Table:
        """A view of these rows."""
        return RowRange(self, start, stop)


class DataLoaderTable(Table):
    """A DataLoader. It chooses the size and the order of its batches, so rows cannot be read by number."""

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
        """The batches of the DataLoader, whatever `size` is."""
        start = 0
        for batch in self.x:
            x = _without_y(batch)
            yield start, x
            start += len(x)

    def read(self, index: Index) -> Any:
        """Raises TypeError."""
        raise TypeError("got a DataLoader, expected a table whose rows can be read by number: pass its dataset instead")

    def part(self, start: int, stop: int) -> Table:
        """Raises TypeError."""
        return self.read(slice(start, stop))


def _without_y(item: Any) -> Any:
    """The rows of a dataset item or a batch, which may come with a target: (x, y) -> x."""
    return item[0] if isinstance(item, tuple | list) else item
