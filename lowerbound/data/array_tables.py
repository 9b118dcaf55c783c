"""Tables in arrays: tensors and NumPy arrays, in memory or memory-mapped."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .input_checks import as_tensor
from .schema import Schema
from .table import Index, Table
from .table_views import ConformedTable

MAPPED_ROWS = 1 << 16  # rows of a memory-mapped file that may be in memory at a time
READ_AROUND = 1 << 21  # bytes before a page that the system may have loaded together with it


class ArrayTable(Table):
    """A tensor or array (n, d)."""

    def __init__(self, x: Any, first_row: int = 0):
        if x.ndim != 2 or 0 in x.shape:
            as_tensor(x)  # raises, with a sentence about the shape
        self.x, self.first_row = x, first_row
        contiguous = x.is_contiguous() if isinstance(x, Tensor) else x.flags.c_contiguous
        self.is_zero_copy = self.in_memory and contiguous and x.dtype in (torch.float64, np.float64)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def features(self) -> int:
        """The number of columns."""
        return self.x.shape[1]

    def read(self, index: Index) -> Any:
        """A view of consecutive rows, or a copy of others."""
        return self.x[index.numpy() if isinstance(index, Tensor) and not isinstance(self.x, Tensor) else index]

    def part(self, start: int, stop: int) -> Table:
        """A view of these rows."""
        return type(self)(self.x[start:stop], self.first_row + start)

    def conformed(self, schema: Schema) -> Table:
        """The columns of an array by `Schema.conform`. A tensor holds those of the model, in their codes."""
        if isinstance(self.x, Tensor) or schema.conform(first := self.x[:0]) is first:
            return self
        return ConformedTable(self, schema)


class MemoryMappedTable(ArrayTable):
    """A memory-mapped array in a file. Rows are copied and their pages released, so that memory does not fill up."""

    in_memory = is_random_access = False

    def read(self, index: Index) -> Any:
        """A copy of the rows."""
        if isinstance(index, slice):
            copy = np.array(self.x[index])
            self._release_pages(index)
            return copy
        rows = index.numpy()
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        copy = np.empty((len(rows), self.features), self.x.dtype)
        # in blocks, because the system loads the neighbours of each row that is read
        for start in range(0, len(self), MAPPED_ROWS):
            first, last = np.searchsorted(ordered, (start, start + MAPPED_ROWS))
            if first < last:
                own = order[first:last]
                copy[own] = self.x[rows[own]]
                self._release_pages(slice(start, start + MAPPED_ROWS))
        return copy

    def _release_pages(self, rows: slice) -> None:
        """Tell the system that the pages of these rows, and the pages loaded with them, need not stay in memory."""
        pages = getattr(self.x, "_mmap", None)  # numpy's private attribute: another version may not have it
        # pages of mode "c" hold changes that are in no file; not every system has MADV_DONTNEED
        if pages is None or self.x.mode == "c" or not hasattr(mmap, "MADV_DONTNEED"):
            return
        low, high = np.lib.array_utils.byte_bounds(self.x[rows])
        base = np.frombuffer(pages, np.uint8).ctypes.data
        low = max(0, low - base - READ_AROUND) // mmap.PAGESIZE * mmap.PAGESIZE
        pages.madvise(mmap.MADV_DONTNEED, low, high - base - low)


def open_npy(path: Path) -> np.ndarray:
    """The array in a .npy file, memory-mapped. Raises ValueError for any other file, or a header that is not true."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except PermissionError:
        raise
    except Exception as error:  # of many kinds: numpy evaluates the header
        raise ValueError(
            f"{path} is not an array of numbers, as numpy.save writes it, or was cut short: save it again"
        ) from error
    if not isinstance(array, np.memmap):
        array.close()  # an archive of several arrays
        raise ValueError(f"{path} holds several arrays, expected one of shape (rows, columns)")
    told, size = array.offset + array.nbytes, path.stat().st_size
    if told != size:
        raise ValueError(f"{path} has {size} bytes, but {told} by its header, shape {array.shape}: save it again")
    return array
