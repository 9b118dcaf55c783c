"""Rows: every table a user may hand us, read chunk by chunk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from operator import add
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from .intake import as_labels, as_tensor, as_weights, first_cell, is_category
from .merge import alike, cells, distinct, hashes
from .schema import Schema, conform

CHUNK_ROWS = 1 << 16  # rows converted at a time: a few tens of MB, independent of how many there are
KEPT_CELLS = 1 << 20  # of a DataFrame whose numbers are kept, 8 MiB: pandas takes its time to pick rows
SAMPLE_ROWS = 1 << 16  # rows that initialization looks at closely

Made = TypeVar("Made")


@dataclass(frozen=True)
class Moments:
    """Means (..., d) and covariances (..., d, d): of data, divided by the total weight, or of components."""

    mean: Float[Tensor, "*k d"]
    covariance: Float[Tensor, "*k d d"]


@dataclass(frozen=True)
class Spread:
    """Mean and variance of each column, (d,), divided by the total weight."""

    mean: Float[Tensor, " d"]
    variance: Float[Tensor, " d"]


@dataclass(frozen=True)
class Gaps:
    """Missing cells: how many there are, how many rows have some, and the first of them in words."""

    cells: int = 0
    rows: int = 0
    first: str = ""

    def __add__(self, other: Gaps) -> Gaps:
        return Gaps(self.cells + other.cells, self.rows + other.rows, self.first or other.first)


@dataclass(frozen=True)
class Chunk:
    """Some rows: x (n, d), weights (n,) or None for ones, labels (n,) or None, -1 where unknown."""

    x: Float[Tensor, "n d"]
    weights: Float[Tensor, " n"] | None
    labels: Int[Tensor, " n"] | None
    numbers: Int[Tensor, " n"] | None = None  # of the rows in the table, where they do not follow one another from 0

    @property
    def arguments(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(x, weights, labels), as the methods of a model take them."""
        return self.x, self.weights, self.labels


def as_rows(x: Any, weights: Any = None, labels: Any = None, model: Any = None) -> Rows:
    """`x` as `Rows`: itself if it is one, in which case it brings its own weights and labels; a table with names in the
    order and by the codes that `model` was fitted to."""
    if not isinstance(x, Rows):
        return Rows(conform(x, model), weights, labels, missing=takes_missing(model))
    if weights is not None or labels is not None:
        raise ValueError("got Rows together with weights or labels, expected them inside: Rows(x, weights, labels)")
    return x.conformed(model)


def takes_missing(model: Any) -> bool:
    """Whether rows of this model may have missing cells."""
    return getattr(model, "takes_missing", False)


class Rows:
    """A data set that is read chunk by chunk: what the engines loop over.

    x: tensor, numpy or memory-mapped array, DataFrame (of category columns the codes are read, as pandas orders them),
    Dataset, or a DataLoader (whose batches are then the chunks).
    weights: (n,), labels: (n,), both optional. missing: whether NaN stands for a missing cell, or is an error. Only a
    chunk at a time is converted, so memory does not grow with n.
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
        if isinstance(x, IterableDataset) or (isinstance(x, DataLoader) and isinstance(x.dataset, IterableDataset)):
            raise TypeError("got an iterable-style dataset, expected one with a length that can be read more than once")
        if isinstance(x, DataLoader) and (weights is not None or labels is not None):
            raise ValueError(
                "weights and labels cannot be matched to the rows of a DataLoader, which may shuffle them: "
                "pass its dataset instead"
            )
        if isinstance(x, DataLoader) and x.drop_last:
            raise ValueError("the DataLoader drops its last batch, expected all rows in each pass: use drop_last=False")
        if not isinstance(x, (Tensor, np.ndarray, pd.DataFrame, Dataset, DataLoader)):
            x = np.asarray(x)
        if isinstance(x, (Tensor, np.ndarray)) and (x.ndim != 2 or 0 in x.shape):
            as_tensor(x)  # raises
        self._x = x
        self._dtype = dtype
        self._missing = missing
        self._first_row = 0  # its number in the table that this is a part of
        self._read_before = False  # all rows in order, so that bad cells would have been found
        self._n = len(x.dataset) if isinstance(x, DataLoader) else len(x)  # type: ignore[arg-type]
        if self._n == 0:
            raise ValueError("got an empty table with 0 rows, expected at least one row and one column")
        self.weights = as_weights(weights, self._n)
        self.labels = as_labels(labels, self._n)

    def conformed(self, model: Any) -> Rows:
        """These rows in the order and by the codes that `model` was fitted to, with missing cells if it takes some;
        themselves where they are."""
        table, missing = conform(self._x, model), self._missing if model is None else takes_missing(model)
        if table is self._x and missing == self._missing:
            return self
        return Rows(table, self.weights, self.labels, dtype=self._dtype, missing=missing)

    def weighted(self, weights: Any) -> Rows:
        """The same rows with other weights: of a resample, or of part of them."""
        return Rows(self._x, weights, self.labels, dtype=self._dtype, missing=self._missing)

    def part(self, start: int, stop: int) -> Rows:
        """Rows start .. stop - 1 with their weights, which may all be zero, and labels; no other row is read. Errors
        and `Chunk.numbers` count as the whole table does.

        Raises TypeError for a DataLoader, whose rows come as it pleases, ValueError for what is not 0 <= start < stop
        <= len(rows).
        """
        if isinstance(self._x, DataLoader):
            raise TypeError("got a DataLoader, expected a table that can be read anywhere: pass its dataset instead")
        if not 0 <= start < stop <= self._n:
            raise ValueError(f"got rows {start} to {stop} of {self._n}, expected 0 <= start < stop <= {self._n}")
        x, part = self._x, copy.copy(self)
        for name, attribute in vars(type(self)).items():
            if isinstance(attribute, cached_property):
                part.__dict__.pop(name, None)
        if isinstance(x, pd.DataFrame):
            part._x = x.iloc[start:stop]
        elif isinstance(x, TensorDataset):
            part._x = TensorDataset(x.tensors[0][start:stop])
        else:
            part._x = Subset(x, range(start, stop)) if isinstance(x, Dataset) else x[start:stop]  # type: ignore[index]
        part._n, part._first_row = stop - start, self._first_row + start
        part.weights = None if self.weights is None else self.weights[start:stop]
        part.labels = None if self.labels is None else self.labels[start:stop]
        return part

    def __len__(self) -> int:
        return self._n

    @property
    def in_batches(self) -> int | None:
        """The size of the batches the rows come in, where that is someone else's choice: a DataLoader's."""
        return (self._x.batch_size or len(self)) if isinstance(self._x, DataLoader) else None

    @property
    def is_fixed(self) -> bool:
        """Whether every reading gives the same rows in the same order, as a table does: a Dataset may draw them."""
        return isinstance(self._x, TensorDataset) or not isinstance(self._x, (Dataset, DataLoader))

    @property
    def columns(self) -> list[str]:
        """The names of the columns: a DataFrame's own, else "column 0", "column 1", ..."""
        if isinstance(self._x, pd.DataFrame):
            return [str(name) for name in self._x.columns]
        return [f"column {i}" for i in range(self.features)]

    @property
    def levels(self) -> list[list[str] | None]:
        """For each column the names of its categories, by code: of a DataFrame's category columns; None for others."""
        if not isinstance(self._x, pd.DataFrame):
            return [None] * self.features
        return [[str(c) for c in kind.categories] if is_category(kind) else None for kind in self._x.dtypes]

    @property
    def schema(self) -> Schema | None:
        """The names of columns and categories of a DataFrame; None for tables without."""
        return Schema.of(self._x) if isinstance(self._x, pd.DataFrame) else None

    @property
    def table(self) -> Any:
        """What the rows are read from."""
        return self._x

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
        return next(self.chunks(1)).x.shape[1]

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

    def chunks(self, size: int = CHUNK_ROWS) -> Iterator[Chunk]:
        """All rows of positive weight in turn, at most `size` at a time (a DataLoader keeps its own batch size). Those
        of weight 0 may be impossible, and must not matter."""
        if isinstance(self._x, DataLoader):
            start = 0
            for batch in self._x:
                x = as_tensor(_first(batch), dtype=self._dtype, first_row=start, missing=self._missing)
                yield Chunk(x, None, None, torch.arange(start, start + len(x)))
                start += len(x)
            return
        for start in range(0, self._n, size):
            chunk = self._read(slice(start, min(start + size, self._n)))
            numbers = torch.arange(start, start + len(chunk.x)) + self._first_row
            if chunk.weights is None:
                yield replace(chunk, numbers=numbers)
            elif (kept := chunk.weights > 0).any():
                labels = None if chunk.labels is None else chunk.labels[kept]
                yield Chunk(chunk.x[kept], chunk.weights[kept], labels, numbers[kept])

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Chunk]:
        """All rows of positive weight once, in a new random order, at most `size` at a time."""
        if isinstance(self._x, DataLoader):
            yield from self.chunks()
            return
        order = torch.randperm(self._n, generator=generator)
        if self.weights is not None:
            order = order[self.weights[order] > 0]
        for index in order.split(size):
            yield self._read(index)

    @property
    def positive(self) -> int:
        """How many rows have positive weight."""
        return self._n if self.weights is None else int((self.weights > 0).sum())

    def sample(self, generator: torch.Generator, size: int = SAMPLE_ROWS) -> Chunk:
        """All rows of positive weight if there are at most `size`, else that many, drawn evenly without replacement (of
        a DataLoader, those that come first)."""
        if isinstance(self._x, DataLoader):
            kept, seen = [], 0
            for chunk in self.chunks():
                kept.append(chunk.x)
                seen += len(chunk.x)
                if seen >= size:
                    break
            return Chunk(torch.cat(kept), None, None)
        if self.weights is None and self._n <= size:
            return self._read(slice(0, self._n))
        if self.weights is not None and self.positive <= size:
            return self._read((self.weights > 0).nonzero().squeeze(1))
        order = torch.randperm(self._n, generator=generator)
        if self.weights is not None:
            order = order[self.weights[order] > 0]
        return self._read(order[:size].sort().values)

    @cached_property
    def merged(self) -> Rows:
        """The distinct rows, of the summed weights of those that are alike in cells (NaN is like NaN) and label, if
        that makes at most half as many; else these rows. Only of tables in memory."""
        if not isinstance(self._x, (Tensor, np.ndarray, pd.DataFrame)) or isinstance(self._x, np.memmap):
            return self
        parts = [slice(start, start + CHUNK_ROWS) for start in range(0, self._n, CHUNK_ROWS)]
        number, first = distinct(np.concatenate([hashes(self._cells(part)) for part in parts]))
        if 2 * len(first) > self._n:
            return self
        pattern = self._read(first)
        wanted = cells(pattern.x, pattern.labels)
        if not all(alike(self._cells(part), wanted[number[part]]) for part in parts):
            return self  # two patterns of one hash: as rare as it gets
        weights = torch.bincount(number, self.weights, minlength=len(first)).double()
        return Rows(pattern.x, weights, pattern.labels, dtype=self._dtype, missing=self._missing)

    @cached_property
    def moments(self) -> Moments:
        """Mean and covariance of all rows, in two passes, so that a far offset costs no digits. Of columns with missing
        cells, over those that are seen; the covariances of pairs are shrunk to stay those of a distribution."""
        products = ((y if w is None else y * w[:, None]).T @ y for y, w in self._centred())
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
        return self._summed(_weighted(c).nansum(0) for c in self.chunks()) / self._seen

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
        for chunk in self.chunks() if self._missing else ():
            gone = chunk.x.isnan()
            cells = int(gone.sum())
            if cells:
                cell = first_cell(gone, chunk.x, self.columns, chunk.numbers).removesuffix("holds nan") + "is missing"
                found += Gaps(cells, int(gone.any(1).sum()), cell)
        return found

    def _summed(self, parts: Iterator[Tensor]) -> Tensor:
        return self.reduced(lambda: torch.as_tensor(sum(parts)))

    def _presence(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        return (((~c.x.isnan()).double(), c.weights) for c in self.chunks())

    def _centred(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        mean = self._mean
        return (((c.x.double() - mean).nan_to_num(nan=0.0), c.weights) for c in self.chunks())

    def _require_range(self, variance: Tensor) -> None:
        finite = torch.isfinite(self._mean) & torch.isfinite(variance)
        if not finite.all():
            raise ValueError(
                f"column {int((~finite).nonzero()[0])} is too large: its square leaves the range of floating-point "
                "numbers, expected variances below 1e308: rescale it to another unit"
            )
        self._read_before = True

    def _cells(self, part: slice) -> Float[Tensor, "n c"]:
        chunk = self._read(part)
        return cells(chunk.x, chunk.labels)

    @cached_property
    def _converted(self) -> Tensor:
        return as_tensor(self._x, dtype=self._dtype, first_row=self._first_row, missing=self._missing)

    def _read(self, index: slice | Tensor) -> Chunk:
        """The rows of a slice or of an index tensor."""
        x = self._x
        if isinstance(x, pd.DataFrame) and x.size <= KEPT_CELLS:
            return Chunk(
                self._converted[index],
                None if self.weights is None else self.weights[index],
                None if self.labels is None else self.labels[index],
            )
        if isinstance(x, pd.DataFrame):
            part = x.iloc[index if isinstance(index, slice) else index.numpy()]
        elif isinstance(x, Tensor):
            part = x[index]
        elif isinstance(x, TensorDataset):
            part = x.tensors[0][index]
        elif isinstance(x, Dataset):  # map-style
            numbers = list(range(index.start, index.stop)) if isinstance(index, slice) else index.tolist()
            many = getattr(x, "__getitems__", None)  # as torch's DataLoader asks for a batch, where a dataset has it
            items = many(numbers) if many else [x[i] for i in numbers]  # type: ignore[reportIndexIssue]
            part = items if isinstance(items, Tensor) else torch.stack([torch.as_tensor(_first(i)) for i in items])
        else:
            array: Any = x
            part = np.asanyarray(array[index if isinstance(index, slice) else index.numpy()])  # cells may be masked
        first = self._first_row + (index.start if isinstance(index, slice) else 0)
        return Chunk(
            as_tensor(
                part,
                dtype=self._dtype,
                first_row=first,
                finite=not self._read_before,
                missing=self._missing,
            ),
            None if self.weights is None else self.weights[index],
            None if self.labels is None else self.labels[index],
        )


def _weighted(chunk: Chunk) -> Tensor:
    x = chunk.x.double()
    return x if chunk.weights is None else x * chunk.weights[:, None]


def _named(column: int, names: list[str]) -> str:
    """A column in words: column 1 ('waiting')."""
    return f"column {column}" + ("" if names[column] == f"column {column}" else f" ({names[column]!r})")


def _first(item: Any) -> Any:
    """The row(s) of a dataset item or batch, which may come with a target: (x, y) -> x."""
    return item[0] if isinstance(item, (tuple, list)) else item
