"""Rows: every table a user may hand us, read chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, wraps
from operator import add
from typing import Any, TypeVar

import torch
from torch import Tensor

from .chunk import Chunk
from .duplicate_rows import patterns
from .input_checks import as_labels, as_tensor, as_weights, first_cell
from .moments import Gaps, Moments, Spread
from .open_table import as_table
from .read_ahead import ahead
from .schema import Schema
from .shuffle import drawn, windows
from .table import Index
from .threads import one_thread

CHUNK_ROWS = 1 << 16  # rows converted at a time, independent of how many there are
CHUNK_CELLS = 1 << 21  # of a table in memory that has few columns more rows: so many cells, 16 MiB
READY_CELLS = 1 << 22  # where they are read without a copy
DESCRIBED_CELLS = 1 << 18  # looked through together for means and gaps, of which copies are made: 2 MiB
EVALUATION_ROWS = 1 << 13  # of a large table whose densities are taken at a time: (rows, k, d) differences
LEAST_VARIANCE = 1e-300  # near the end of the numbers that have all their digits, with room for products
HEAVIEST = 1e150  # what all weights may sum to
MERGED_ROWS = 1 << 14  # looked through together for rows that are alike
SAMPLE_ROWS = 1 << 15  # rows that initialization looks at closely

Made = TypeVar("Made")


def as_rows(x: Any, weights: Any = None, labels: Any = None, model: Any = None) -> Rows:
    """`x` as `Rows`: itself if it is one, in which case it brings its own weights and labels; a table with names in the
    order and by the codes that `model` was fitted to."""
    if not isinstance(x, Rows):
        schema, table = getattr(model, "schema", None), as_table(x)
        table = table if schema is None else table.conformed(schema)
        return Rows(table, weights, labels, missing=takes_missing(model))
    if weights is not None or labels is not None:
        raise ValueError("got Rows together with weights or labels, expected them inside: Rows(x, weights, labels)")
    return x.conformed(model)


def takes_missing(model: Any) -> bool:
    """Whether rows of this model may have missing cells."""
    return getattr(model, "takes_missing", False)


class Rows:
    """A data set that is read chunk by chunk: what the engines loop over.

    x: tensor, numpy or memory-mapped array, DataFrame (of category columns the codes are read, as pandas orders them),
    Dataset, a DataLoader (whose batches are then the chunks), or the path of a .npy file, a Parquet file or a folder of
    them. weights: (n,), labels: (n,), both optional. missing: whether NaN stands for a missing cell, or is an error.
    Only a chunk at a time is converted, so memory does not grow with n; of a file the next one is read by a thread
    while this one is computed with.
    """

    processes = 1  # that share the table, each reading a part of it

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
        self._read_before = False  # all rows in order, so that bad cells would have been found
        self._n = len(self._table)
        if self._n == 0:
            raise ValueError("got an empty table with 0 rows, expected at least one row and one column")
        self.weights = as_weights(weights, self._n)
        self.labels = as_labels(labels, self._n)

    def conformed(self, model: Any) -> Rows:
        """These rows in the order and by the codes that `model` was fitted to, with missing cells if it takes some;
        themselves where they are."""
        schema, missing = getattr(model, "schema", None), self._missing if model is None else takes_missing(model)
        table = self._table if schema is None else self._table.conformed(schema)
        if table is self._table and missing == self._missing:
            return self
        return Rows(table, self.weights, self.labels, dtype=self._dtype, missing=missing)

    def weighted(self, weights: Any) -> Rows:
        """The same rows with other weights: of a resample, or of part of them."""
        return Rows(self._table, weights, self.labels, dtype=self._dtype, missing=self._missing)

    def part(self, start: int, stop: int) -> Rows:
        """Rows start .. stop - 1 with their weights, which may all be zero, and labels; no other row is read. Errors
        and `Chunk.numbers` count as the whole table does.

        Raises TypeError for a DataLoader, whose rows come as it pleases, ValueError for what is not 0 <= start < stop
        <= len(rows).
        """
        if not 0 <= start < stop <= self._n:
            raise ValueError(f"got rows {start} to {stop} of {self._n}, expected 0 <= start < stop <= {self._n}")
        part = Rows(self._table.part(start, stop), dtype=self._dtype, missing=self._missing)
        part.weights = None if self.weights is None else self.weights[start:stop]
        part.labels = None if self.labels is None else self.labels[start:stop]
        return part

    def __len__(self) -> int:
        return self._n

    @property
    def in_batches(self) -> int | None:
        """The size of the batches the rows come in, where that is someone else's choice: a DataLoader's."""
        return self._table.in_batches

    @property
    def is_fixed(self) -> bool:
        """Whether every reading gives the same rows in the same order, as a table does: a Dataset may draw them."""
        return self._table.is_fixed

    @property
    def columns(self) -> list[str]:
        """The names of the columns: the table's own, else "column 0", "column 1", ..."""
        return list((self.schema or Schema.plain(self.features)).columns)

    @property
    def levels(self) -> list[list[str] | None]:
        """For each column the names of its categories, by code: of columns of categories; None for others."""
        known = (self.schema or Schema.plain(self.features)).levels
        return [None if words is None else list(words) for words in known]

    @property
    def schema(self) -> Schema | None:
        """The names of columns and categories of a DataFrame or Parquet file; None for tables without."""
        return self._table.schema

    @property
    def table(self) -> Any:
        """All rows as they came, in memory: a DataFrame, array or tensor."""
        return self._table.whole()

    @property
    def takes_missing(self) -> bool:
        """Whether NaN stands for a missing cell."""
        return self._missing

    @cached_property
    def gaps(self) -> Gaps:
        """The cells that are missing in rows of positive weight."""
        return self.reduced(self._gaps)

    @cached_property
    def features(self) -> int:
        """The number of columns."""
        return self._table.features

    @cached_property
    def total_weight(self) -> float:
        """The sum of the row weights: the number of rows where there are none."""
        return float(self._n) if self.weights is None else float(self.weights.sum())

    def reduced(self, part: Callable[[], Made], merge: Callable[[Any, Any], Any] = add) -> Made:
        """What `part` makes of the chunks, merged (as a rule: added) over all processes that share the table."""
        return part()

    def steps(self, size: int) -> int:
        """How many `batches` of this size there are."""
        return -(-self.positive // size)

    def chunks(self, size: int | None = None) -> Iterator[Chunk]:
        """All rows of positive weight in turn, at most `size` at a time (a DataLoader keeps its own batch size). Those
        of weight 0 may be impossible, and must not matter."""
        if size is None:
            cells = READY_CELLS if self._table.is_ready and self.weights is None else CHUNK_CELLS
            size = max(CHUNK_ROWS, cells // self.features) if self._table.in_memory else CHUNK_ROWS
        yield from self._ahead(self._chunks(size))

    def _chunks(self, size: int) -> Iterator[Chunk]:
        for start, part in self._table.pieces(size):
            index = slice(start, start + len(part))
            chunk = self._chunk(part, index)
            whole = replace(chunk, where=range(self._table.first + index.start, self._table.first + index.stop))
            if whole.weights is None:
                yield whole
            elif (kept := whole.weights > 0).any():
                labels = None if whole.labels is None else whole.labels[kept]
                yield Chunk(whole.x[kept], whole.weights[kept], labels, whole.numbers[kept])

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Chunk]:
        """All rows of positive weight once, in a new random order, at most `size` at a time.

        Of a file of more than 4 million cells not every order is as likely: stretches of neighbouring rows (of Parquet,
        row groups) are put in random order, and the rows of as many of them as have 4 million cells are mixed. A file
        whose rows are sorted is better shuffled once before. Of a table in memory these are 4 million rows.
        """
        yield from self.chunks() if self.in_batches is not None else self._ahead(self._batches(size, generator))

    def _batches(self, size: int, generator: torch.Generator) -> Iterator[Chunk]:
        for order in windows(self._table, self.weights, size, generator):
            yield from self._in_order(order.split(size))

    def _in_order(self, batches: Sequence[Tensor]) -> Iterator[Chunk]:
        """Batches of a window, by the numbers of their rows."""
        if self._table.is_scattered:
            yield from map(self._read, batches)
            return
        numbers, place = torch.cat(list(batches)).sort()
        read = self._read(numbers)
        for own in place.argsort().split([len(batch) for batch in batches]):
            yield read.pick(own)

    def _ahead(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Made by a thread, where they come from a file."""
        return ahead(chunks) if not self._table.in_memory and self._table.is_fixed else chunks

    @property
    def positive(self) -> int:
        """How many rows have positive weight."""
        return self._n if self.weights is None else int((self.weights > 0).sum())

    @property
    def here(self) -> int:
        """How many of these `chunks` give: fewer where other processes read the others."""
        return self.positive

    def sample(self, generator: torch.Generator, size: int = SAMPLE_ROWS) -> Chunk:
        """All rows of positive weight if there are at most `size`, else that many, drawn evenly without replacement (of
        a DataLoader, those that come first)."""
        if self.in_batches is not None:
            kept, seen = [], 0
            for chunk in self.chunks():
                kept.append(chunk.x)
                seen += len(chunk.x)
                if seen >= size:
                    break
            return Chunk(torch.cat(kept), None, None)
        if self.weights is None and self._n <= size:
            return self._read(slice(0, self._n))
        return self._read(drawn(self._n, self.weights, self.positive, size, generator))

    @cached_property
    def merged(self) -> Rows:
        """The distinct rows, of the summed weights of those that are alike in cells (NaN is like NaN) and label, if
        that makes at most half as many, and few enough to hold; else these rows. Only of tables in memory."""
        found = patterns(self._chunks_as_they_are(), self._n) if self._table.in_memory else None
        if found is None:
            return self
        return Rows(found.x, found.weights, found.labels, dtype=self._dtype, missing=self._missing)

    def _chunks_as_they_are(self) -> Iterator[Chunk]:
        return (self._chunk(part, slice(at, at + len(part))) for at, part in self._table.pieces(MERGED_ROWS))

    @cached_property
    def moments(self) -> Moments:
        """Mean and covariance of all rows, in two passes, so that a far offset costs no digits. Of columns with missing
        cells, over those that are seen; the covariances of pairs are shrunk to stay those of a distribution."""
        products = ((y if w is None else y * w[:, None]).T @ y for y, w in self._centred())
        with one_thread():
            covariance = self._summed(products) / torch.outer(self._seen, self._seen).sqrt()
        self._require_range(covariance.diagonal())
        return Moments(self._mean, covariance)

    @cached_property
    def spread(self) -> Spread:
        """Mean and variance of each column, in two passes: small where the covariance of many columns is not."""
        squares = ((y.square() if w is None else y.square() * w[:, None]).sum(0) for y, w in self._centred())
        variance = self._summed(squares) / self._seen
        self._require_range(variance)
        return Spread(self._mean, variance)

    @cached_property
    def _mean(self) -> Tensor:
        return self._summed(_weighted(c).nansum(0) for c in self._described()) / self._seen

    @cached_property
    def _seen(self) -> Tensor:
        """(d,) the total weight of the cells that are seen in each column."""
        if not self._missing:
            return torch.full((self.features,), self.total_weight, dtype=torch.float64)
        shares = (seen.sum(0) if w is None else w @ seen for seen, w in self._presence())
        seen = self._summed(shares)
        if not (seen > 0).all():
            column = int((seen <= 0).nonzero()[0])
            raise ValueError(f"{_named(column, self.columns)} has no value in any row, expected some: drop the column")
        return seen

    def _gaps(self) -> Gaps:
        found = Gaps()
        for chunk in self._described() if self._missing else ():
            gone = chunk.x.isnan()
            cells = int(gone.sum())
            if cells:
                cell = first_cell(gone, chunk.x, self.columns, chunk.where).removesuffix("holds nan") + "is missing"
                found += Gaps(cells, int(gone.any(1).sum()), cell)
        return found

    def _described(self) -> Iterator[Chunk]:
        """The chunks of `moments` and their like, which make copies."""
        return self.chunks(max(1, DESCRIBED_CELLS // self.features))

    def _summed(self, parts: Iterator[Tensor]) -> Tensor:
        return self.reduced(lambda: torch.as_tensor(sum(parts)))

    def _presence(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        return (((~c.x.isnan()).double(), c.weights) for c in self._described())

    def _centred(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        mean = self._mean
        return (((c.x.double() - mean).nan_to_num_(nan=0.0), c.weights) for c in self._described())

    def _require_range(self, variance: Tensor) -> None:
        if not 1 / HEAVIEST < self.total_weight < HEAVIEST:
            raise ValueError(
                f"the weights sum to {self.total_weight:g}, expected some number of rows (a row of weight 2 counts as "
                "two): divide them by their mean"
            )
        finite = torch.isfinite(self._mean) & torch.isfinite(variance)
        if not finite.all():
            raise ValueError(
                f"column {int((~finite).nonzero()[0])} is too large: its square leaves the range of floating-point "
                "numbers, expected variances below 1e308: rescale it to another unit"
            )
        tiny = (variance > 0) & (variance < LEAST_VARIANCE)
        if tiny.any():
            raise ValueError(
                f"column {int(tiny.nonzero()[0])} is too small: its square leaves the range of floating-point numbers, "
                f"expected variances above {LEAST_VARIANCE:g}: rescale it to another unit"
            )
        self._read_before = True

    def _read(self, index: Index) -> Chunk:
        """The rows of a slice or of an index tensor."""
        return self._chunk(self._table.read(index), index)

    def _chunk(self, part: Any, index: Index) -> Chunk:
        """Rows that were read, as numbers."""
        first = self._table.first
        numbers = range(first + index.start, first + index.stop) if isinstance(index, slice) else first + index
        x = as_tensor(
            part,
            dtype=self._dtype,
            numbers=numbers,
            finite=not self._read_before,
            missing=self._missing,
            columns=None if self.schema is None else self.schema.columns,
        )
        weights, labels = (None if own is None else own[index] for own in (self.weights, self.labels))
        return Chunk(x, weights, labels)


def by_chunks(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a method of a model that says something of each row of a table x, in the first dimension of a tensor, take
    more rows than fit in memory together, from any table that `Rows` takes."""

    @wraps(method)
    def of_all_rows(self: Any, x: Any, labels: Any = None) -> Tensor:
        table = as_table(x)
        if table.in_memory and len(table) <= CHUNK_ROWS:
            return method(self, x, *(() if labels is None else (labels,)))
        parts, rows = [], as_rows(table, None, labels, self)
        for chunk in rows.chunks(EVALUATION_ROWS):
            self._allow(chunk.x, rows.columns, chunk.where)
            parts.append(method(self, chunk.x, *(() if labels is None else (chunk.labels,))))
        return torch.cat(parts)

    return of_all_rows


def _weighted(chunk: Chunk) -> Tensor:
    x = chunk.x.double()
    return x if chunk.weights is None else x * chunk.weights[:, None]


def _named(column: int, names: list[str]) -> str:
    """A column in words: column 1 ('waiting')."""
    return f"column {column}" + ("" if names[column] == f"column {column}" else f" ({names[column]!r})")
