"""Tables: everything rows can be read from, behind one small interface."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from .intake import as_tensor
from .schema import Schema

KEPT_CELLS = 1 << 20  # of a DataFrame whose numbers are kept, 8 MiB: pandas takes its time to pick rows
MAPPED_ROWS = 1 << 16  # of a file, that may be in memory at a time
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


class Numbers(Table):
    """A tensor or array (n, d)."""

    def __init__(self, x: Any, first: int = 0):
        if x.ndim != 2 or 0 in x.shape:
            as_tensor(x)  # raises
        self.x, self.first = x, first
        whole = x.is_contiguous() if isinstance(x, Tensor) else x.flags.c_contiguous
        self.is_ready = self.in_memory and whole and x.dtype in (torch.float64, np.float64)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def features(self) -> int:
        """The number of columns."""
        return self.x.shape[1]

    def read(self, index: Index) -> Any:
        """A view of consecutive rows, or a copy."""
        return self.x[index.numpy() if isinstance(index, Tensor) and not isinstance(self.x, Tensor) else index]

    def part(self, start: int, stop: int) -> Table:
        """A view."""
        return type(self)(self.x[start:stop], self.first + start)


BEFORE = 1 << 21  # bytes: a page that is touched brings neighbours on both sides, some of which were let go before


class Mapped(Numbers):
    """An array in a file, memory-mapped. What was read is copied and its pages let go, so that they do not pile up."""

    in_memory = is_scattered = False

    def read(self, index: Index) -> Any:
        """A copy."""
        if isinstance(index, slice):
            copy = np.array(self.x[index])
            self._let_go(index)
            return copy
        rows = index.numpy()
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        copy = np.empty((len(rows), self.features), self.x.dtype)
        for start in range(0, len(self), MAPPED_ROWS):  # a row touched brings its neighbours into memory
            first, last = np.searchsorted(ordered, (start, start + MAPPED_ROWS))
            if first < last:
                own = order[first:last]
                copy[own] = self.x[rows[own]]
                self._let_go(slice(start, start + MAPPED_ROWS))
        return copy

    def _let_go(self, rows: slice) -> None:
        pages = getattr(self.x, "_mmap", None)
        # pages of mode "c" hold what was written
        if pages is None or self.x.mode == "c" or not hasattr(mmap, "MADV_DONTNEED"):
            return
        low, high = np.lib.array_utils.byte_bounds(self.x[rows])
        base = np.frombuffer(pages, np.uint8).ctypes.data
        low = max(0, low - base - BEFORE) // mmap.PAGESIZE * mmap.PAGESIZE
        pages.madvise(mmap.MADV_DONTNEED, low, high - base - low)


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


def as_table(x: Any) -> Table:
    """`x` as a table: tensor, array, DataFrame, Dataset, DataLoader, or the path of a .npy file, a Parquet file or a
    folder of them.

    Raises TypeError for an iterable-style dataset, ValueError or FileNotFoundError for what is not there or no table.
    """
    if isinstance(x, Table):
        return x
    if isinstance(x, str | os.PathLike):
        return open_table(Path(x))
    if isinstance(x, IterableDataset) or (isinstance(x, DataLoader) and isinstance(x.dataset, IterableDataset)):
        raise TypeError("got an iterable-style dataset, expected one with a length that can be read more than once")
    if isinstance(x, DataLoader):
        return Loader(x)
    if isinstance(x, TensorDataset):
        return Numbers(x.tensors[0])
    if isinstance(x, Dataset):
        return Items(x)
    if isinstance(x, pd.DataFrame):
        return Frame(x)
    if isinstance(x, np.memmap):
        return Mapped(x)
    if isinstance(x, Tensor | np.ndarray):
        return Numbers(x)
    if (array := np.asarray(x)).ndim != 2:
        as_tensor(x)  # raises, and says what x is
    return Numbers(array)


def open_table(path: Path) -> Table:
    """The table in a .npy file, memory-mapped, in a Parquet file, or in a folder of Parquet files, read by batches."""
    from .parquet import Parquet

    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir() or path.suffix.lower() == ".parquet":
        return Parquet(path)
    if path.suffix.lower() != ".npy":
        raise ValueError(f"{path} is not a file of a known kind, expected .npy, .parquet or a folder of .parquet files")
    return as_table(mapped(path))


def mapped(path: Path) -> np.ndarray:
    """The array in a .npy file, memory-mapped. Raises ValueError for any other file."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is not an array of numbers, as numpy.save writes it, or was cut short: save it again"
        ) from error
    if not isinstance(array, np.ndarray):
        array.close()  # an archive of several
        raise ValueError(f"{path} holds several arrays, expected one of shape (rows, columns)")
    return array


def _first(item: Any) -> Any:
    """The row(s) of a dataset item or batch, which may come with a target: (x, y) -> x."""
    return item[0] if isinstance(item, tuple | list) else item
