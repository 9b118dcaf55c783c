"""Tables in arrays: tensors and NumPy arrays, in memory or memory-mapped."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .input_checks import as_tensor
from .table import Index, Table

MAPPED_ROWS = 1 << 16  # of a file, that may be in memory at a time


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
