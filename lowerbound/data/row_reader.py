"""Chunks, random batches and samples of the rows of any table: the reading that `Rows` builds on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .chunk import Chunk
from .input_checks import as_labels, as_tensor, as_weights
from .open_table import as_table
from .read_ahead import read_ahead
from .schema import Schema
from .shuffle import sample_row_numbers, shuffled_windows
from .table import Index
from .threads import SMALL_TABLE

CHUNK_ROWS = 1 << 16  # rows converted at a time, however many there are
CHUNK_CELLS = 1 << 21  # values (16 MiB) converted at a time of a table in memory with few columns
ZERO_COPY_CELLS = 1 << 22  # values read at a time where nothing is copied
SAMPLE_ROWS = 1 << 15  # rows that an initialization sees


class RowReader:
    """A table with row weights and labels, read a chunk at a time. Users see it as `Rows`; the arguments are there."""

    _values_checked = False  # whether all values are known to be finite, after one pass

    def __init__(
        self,
        x: Any,
        weights: Any = None,
        labels: Any = None,
        *,
        dtype: torch.dtype = torch.float64,
        missing: bool = False,
    ):
        self._table = as_table(x)
        if self.in_batches is not None and (weights is not None or labels is not None):
            raise ValueError(
                "weights and labels cannot be matched to the rows of a DataLoader, which may shuffle them: "
                "pass its dataset instead"
            )
        self._dtype = dtype
        self._missing = missing
        self._n = len(self._table)
        if self._n == 0:
            raise ValueError("got an empty table with 0 rows, expected at least one row and one column")
        self.weights = as_weights(weights, self._n)
        self.labels = as_labels(labels, self._n)

    def __len__(self) -> int:
        return self._n

    @property
    def in_batches(self) -> int | None:
        """The batch size of a DataLoader; None for other tables."""
        return self._table.in_batches

    @property
    def is_fixed(self) -> bool:
        """Whether every reading gives the same rows in the same order. False for a Dataset, which may draw them."""
        return self._table.is_fixed

    @property
    def schema(self) -> Schema | None:
        """The names of columns and categories of a DataFrame or Parquet file; None for tables without names."""
        return self._table.schema

    @property
    def columns(self) -> list[str]:
        """The names of the columns: the table's own, or "column 0", "column 1", ..."""
        return list((self.schema or Schema.plain(self.features)).columns)

    @property
    def width(self) -> int:
        """The number of columns, also if some of them cannot be read as numbers."""
        return len(self.schema.columns) if self.schema else self.features

    @property
    def dtypes(self) -> list[Any] | None:
        """The pandas type of each column; None for a table without names."""
        return self._table.dtypes

    @property
    def in_memory(self) -> bool:
        """Whether the table is in memory, and not in a file."""
        return self._table.in_memory

    @property
    def takes_missing(self) -> bool:
        """Whether NaN stands for a missing value."""
        return self._missing

    @cached_property
    def features(self) -> int:
        """The number of columns."""
        return self._table.features

    @cached_property
    def total_weight(self) -> float:
        """The sum of the row weights; without weights, the number of rows."""
        return float(self._n) if self.weights is None else float(self.weights.sum())

    @property
    def counted_rows(self) -> float:
        """How many rows the weights stand for, where the rows of a component are counted.

        Whole weights are frequencies: a row of weight 2 counts as two rows. Others are weights of a sample, whose sum
        is arbitrary: they are taken relative to their mean, so that the sum is the number of rows of positive weight.
        """
        whole = self.weights is None or bool((self.weights == self.weights.round()).all())
        return self.total_weight if whole else float(self.positive)

    @property
    def positive(self) -> int:
        """How many rows have positive weight."""
        return self._n if self.weights is None else int((self.weights > 0).sum())

    def chunks(self, size: int | None = None) -> Iterator[Chunk]:
        """All rows of positive weight in turn, at most `size` at a time (a DataLoader keeps its own batch size).

        Rows of weight 0 are left out, because their values need not be possible.
        """
        if size is None:
            cells = ZERO_COPY_CELLS if self._table.is_zero_copy and self.weights is None else CHUNK_CELLS
            size = max(CHUNK_ROWS, cells // self.features) if self._table.in_memory else CHUNK_ROWS
        small = self._values_checked and self.in_memory and self.is_fixed and self._n * self.features <= SMALL_TABLE
        if small and self._n <= size and self.in_batches is None:
            yield from self._only_chunk
        else:
            yield from self._read_ahead(self._chunks(size))

    @cached_property
    def _only_chunk(self) -> list[Chunk]:
        """The rows of a small table: to read and check them anew in every pass would take longer than the pass."""
        return list(self._chunks(self._n))

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Chunk]:
        """All rows of positive weight once, in a new random order, at most `size` at a time.

        The rows of a table in memory are mixed 4 million at a time. A file of more than 4 million values is not mixed
        completely: runs of neighbouring rows (of Parquet files, row groups) are put in random order, and the rows of as
        many runs as hold 4 million values are mixed. If a file is sorted, shuffle it once before.
        """
        yield from self.chunks() if self.in_batches is not None else self._read_ahead(self._batches(size, generator))

    def sample(self, generator: torch.Generator, size: int | None = None) -> Chunk:
        """`size` rows of positive weight, drawn uniformly without replacement, or all of them if there are fewer.

        size: 32,768 by default. From a DataLoader, the first rows are taken.
        """
        size = SAMPLE_ROWS if size is None else size
        if self.in_batches is not None:
            kept, count = [], 0
            for chunk in self.chunks():
                kept.append(chunk.x)
                count += len(chunk.x)
                if count >= size:
                    break
            return Chunk(torch.cat(kept), None, None)
        if self.weights is None and self._n <= size:
            return self._read(slice(0, self._n))
        return self._read(sample_row_numbers(self._n, self.weights, self.positive, size, generator))

    def _chunks(self, size: int) -> Iterator[Chunk]:
        first = self._table.first_row
        for start, part in self._table.pieces(size):
            stop = start + len(part)
            chunk = self._chunk(part, slice(start, stop))
            if chunk.weights is None:
                yield replace(chunk, row_numbers=range(first + start, first + stop))
            elif (kept := chunk.weights > 0).any():
                labels = None if chunk.labels is None else chunk.labels[kept]
                numbers = torch.arange(first + start, first + stop)[kept]
                yield Chunk(chunk.x[kept], chunk.weights[kept], labels, numbers)

    def _unfiltered_chunks(self, size: int) -> Iterator[Chunk]:
        """All rows, also those of weight 0."""
        return (self._chunk(part, slice(at, at + len(part))) for at, part in self._table.pieces(size))

    def _batches(self, size: int, generator: torch.Generator) -> Iterator[Chunk]:
        for order in shuffled_windows(self._table, self.weights, size, generator):
            yield from self._window_batches(order.split(size))

    def _window_batches(self, batches: Sequence[Tensor]) -> Iterator[Chunk]:
        """The batches of a window, each given by its row numbers. A file is read once per window, in order."""
        if self._table.is_random_access:
            yield from map(self._read, batches)
            return
        numbers, place = torch.cat(list(batches)).sort()
        window = self._read(numbers)
        for own in place.argsort().split([len(batch) for batch in batches]):
            yield window.take(own)

    def _read_ahead(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The chunks, read by a thread if they come from a file."""
        return read_ahead(chunks) if not self._table.in_memory and self._table.is_fixed else chunks

    def _read(self, index: Index) -> Chunk:
        """The rows of a slice or of a tensor of row numbers."""
        return self._chunk(self._table.read(index), index)

    def _chunk(self, part: Any, index: Index) -> Chunk:
        """Rows that were read, as checked numbers, with their weights and labels."""
        first = self._table.first_row
        numbers = range(first + index.start, first + index.stop) if isinstance(index, slice) else first + index
        x = as_tensor(
            part,
            dtype=self._dtype,
            numbers=numbers,
            finite=not self._values_checked,
            missing=self._missing,
            columns=None if self.schema is None else self.schema.columns,
        ).detach()  # a fit is not differentiated
        weights, labels = (None if own is None else own[index] for own in (self.weights, self.labels))
        return Chunk(x, weights, labels)
