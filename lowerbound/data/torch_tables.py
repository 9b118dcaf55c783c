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
        self._width: int | None = None  # of the first rows that were read

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
        rows = items if isinstance(items, Tensor) else _stacked(numbers, items)
        if self._width is None and rows.ndim == 2:
            self._width = rows.shape[1]
        elif rows.ndim == 2 and rows.shape[1] != self._width:
            raise ValueError(
                f"item {numbers[0]} of the Dataset has {rows.shape[1]} numbers, expected {self._width}, as the others"
            )
        return rows

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
        start, width = 0, None
        for batch in _regular(iter(self.x)):
            x = _without_y(batch)
            if isinstance(x, Tensor) and x.ndim == 2 and x.shape[1] != (width := width or x.shape[1]):
                raise ValueError(
                    f"row {start} of the DataLoader has {x.shape[1]} numbers, expected {width}, as the others"
                )
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


def _stacked(numbers: list[int], items: Any) -> Tensor:
    """Items of a dataset as rows of one tensor. Raises an error that names the first item that is none."""
    rows: list[Tensor] = []
    for number, item in zip(numbers, items, strict=True):
        x = _without_y(item)
        try:
            row = torch.as_tensor(x)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"item {number} of the Dataset is a {type(x).__name__}, expected the numbers of a row, or a pair of "
                "them and a target"
            ) from error
        if rows and row.shape != rows[0].shape:
            raise ValueError(
                f"item {number} of the Dataset has shape {tuple(row.shape)}, expected {tuple(rows[0].shape)}, as item "
                f"{numbers[0]}"
            )
        rows.append(row)
    return torch.stack(rows)


def _regular(batches: Iterator[Any]) -> Iterator[Any]:
    """The batches of a DataLoader. Raises ValueError, in one sentence, if it cannot stack its rows."""
    try:
        yield from batches
    except RuntimeError as error:
        if "equal size" not in str(error):
            raise
        raise ValueError("the rows of the DataLoader differ in length, expected the same numbers in each") from error
