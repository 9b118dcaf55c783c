"""The rows of a fit by several processes: each process reads its own part of the table."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise
from operator import add
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...data.chunk import Chunk
from ...data.rows import as_rows
from ...data.schema import Schema
from ...data.shuffle import shuffled_windows
from ...data.table_digest import table_digest
from ...models import Rows
from ..engines.collectives import gather, sum_over_processes
from ..engines.processes import processes, rank

Made = TypeVar("Made")


@dataclass(frozen=True)
class Local:
    """The rows of this process, where each process of a job holds a part of the table and none holds all of it.

    `fit(model, Local(x, weights, labels), ...)` on every process fits the parts together, one after the other in the
    order of the ranks. Parts should be of similar size. In a single process it is the same as `x`.

    Args:
        x: (n, d) rows of this process, of any kind that `fit` takes.
        weights: (n,) their weights.
        labels: (n,) their known components, -1 where unknown.

    Example:
        >>> import torch
        >>> from lowerbound.inference import EM, Local, fit
        >>> from lowerbound.models import GaussianMixture
        >>> part = Local(torch.tensor([[0.0], [1.0], [2.0], [3.0]]))
        >>> fit(GaussianMixture(1, 1), part, EM()).model.family.loc.tolist()
        [[1.5]]
    """

    x: Any
    weights: Any = None
    labels: Any = None


def rows_for_fit(x: Any, weights: Any = None, labels: Any = None, model: Any = None) -> Rows:
    """The rows that a fit reads, made by `as_rows`; in a job of several processes `DistributedRows`."""
    if not isinstance(x, Local):
        rows = as_rows(x, weights, labels, model)
        return rows if processes() == 1 else _divided(rows)
    if weights is not None or labels is not None:
        raise ValueError(
            "got Local rows together with weights or labels, expected them inside: Local(x, weights, labels)"
        )
    own = as_rows(x.x, x.weights, x.labels, model)
    return own if processes() == 1 else _joined(own)


def _divided(rows: Rows) -> DistributedRows:
    """A table that all processes can read, in parts with equal numbers of rows of positive weight."""
    _require_divisible(rows)
    facts = gather(lambda: (len(rows), rows.features, rows.total_weight))
    if len(set(facts)) > 1:
        (n, d, _), (m, e, _) = sorted(set(facts))[:2]
        raise ValueError(
            f"the processes of this job have tables of {n} x {d} and {m} x {e} cells, or other weights, expected the "
            "same whole table on each: pass parts of one as Local(x, weights, labels)"
        )
    if len(set(gather(lambda: table_digest(rows)))) > 1:
        raise ValueError(
            f"the processes of this job have different tables of one shape, {len(rows)} x {rows.features}, expected "
            "the same whole table on each: pass parts of one as Local(x, weights, labels)"
        )
    count, world = rows.positive, processes()
    if count < world:
        raise ValueError(f"got {count} rows for {world} processes, expected at least one for each: start fewer")
    cuts = [count * i // world for i in range(world + 1)]
    counts = [stop - start for start, stop in pairwise(cuts)]
    if rows.weights is not None:
        kept = (rows.weights > 0).nonzero().squeeze(1)
        cuts = [0, *kept[torch.tensor(cuts[1:-1], dtype=torch.long)].tolist(), len(rows)]
    first, stop = cuts[rank()], cuts[rank() + 1]
    return DistributedRows(rows.part(first, stop), first, len(rows), rows.weights, rows.labels, counts)


def _joined(own: Rows) -> DistributedRows:
    """The parts of all processes as one table, in the order of the ranks."""
    _require_divisible(own)
    parts = gather(lambda: (len(own), own.features, own.schema, own.weights, own.labels))
    sizes = [part[0] for part in parts]
    if len({part[1:3] for part in parts}) > 1:
        raise ValueError(
            f"the processes of this job have tables of {', '.join(str(part[1]) for part in parts)} columns, or of "
            "other names or categories, expected the same on each"
        )
    weights = labels = None
    if any(part[3] is not None for part in parts):
        weights = torch.cat([torch.ones(n, dtype=torch.float64) if w is None else w for n, *_, w, _ in parts])
    if any(part[4] is not None for part in parts):
        labels = torch.cat([torch.full((n,), -1) if z is None else z for n, *_, z in parts])
    counts = gather(lambda: own.positive)
    return DistributedRows(own, sum(sizes[: rank()]), sum(sizes), weights, labels, counts)


def _require_divisible(rows: Rows) -> None:
    if rows.in_batches is not None:
        raise TypeError("got a DataLoader in a job of several processes, expected a table: pass its dataset instead")


class DistributedRows(Rows):
    """A table that several processes share: each reads its own part, and sums are added over all of them.

    Weights and labels are those of all rows, on every process.

    own: the part of this process, whose first row has the number `first` among all `n`. counts: how many rows of
    positive weight each process has.
    """

    def __init__(
        self, own: Rows, first: int, n: int, weights: Tensor | None, labels: Tensor | None, counts: Sequence[int]
    ):
        vars(self).update(vars(own))  # the same columns, categories and types as the part
        own._table = copy.copy(own._table)
        own._table.first_row = first  # errors number the rows as in the whole table
        self.own, self.first, self.counts = own, first, list(counts)
        self._n, self.weights, self.labels = n, weights, labels
        self.processes = len(self.counts)

    def conformed(self, model: Any) -> DistributedRows:
        own = self.own.conformed(model)
        if own is self.own:
            return self
        return DistributedRows(own, self.first, self._n, self.weights, self.labels, self.counts)

    def with_schema(self, schema: Schema) -> DistributedRows:
        own = self.own.with_schema(schema)
        return DistributedRows(own, self.first, self._n, self.weights, self.labels, self.counts)

    def reduced(self, part: Callable[[], Made], merge: Callable[[Any, Any], Any] = add) -> Made:
        """`part()` of all processes, merged: as a rule added."""
        return sum_over_processes(part) if merge is add else reduce(merge, gather(part))

    @cached_property
    def merged(self) -> DistributedRows:
        """The distinct rows of each part."""
        return DistributedRows(self.own.merged, self.first, self._n, self.weights, self.labels, self.counts)

    def chunks(self, size: int | None = None) -> Iterator[Chunk]:
        """The rows of positive weight of this process's part in turn."""
        return self.own.chunks(size)

    @property
    def here(self) -> int:
        """The number of rows of positive weight of this process."""
        return self.own.positive

    def steps(self, size: int) -> int:
        """How many `batches` of this size there are, the same for every process."""
        return min(*self.counts, -(-max(self.counts) // size))

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Chunk]:
        """The rows of positive weight of this process once, in a new random order.

        Every process has the same number of batches, of at most `size` rows each where parts are of similar size.
        """
        yield from self.own._read_ahead(self._batches(size, generator))

    def _batches(self, size: int, generator: torch.Generator) -> Iterator[Chunk]:
        rows, steps = self.own.positive, self.steps(size)  # that remain
        for order in shuffled_windows(self.own._table, self.own.weights, size, generator):
            here = max(1, min(steps - 1, round(steps * len(order) / rows))) if len(order) < rows else steps
            yield from self.own._window_batches(order.tensor_split(here))
            rows, steps = rows - len(order), steps - here

    def _require_range(self, variance: Tensor) -> None:
        super()._require_range(variance)
        self.own._values_checked = True

    def _read(self, index: slice | Tensor) -> Chunk:
        """Rows by their numbers in the table; each is read by the process that holds it, and sent to all."""
        numbers = torch.arange(index.start, index.stop) if isinstance(index, slice) else index
        here = numbers[(numbers >= self.first) & (numbers < self.first + len(self.own))] - self.first
        return Chunk(
            torch.cat(gather(lambda: self.own._read(here).x)),
            None if self.weights is None else self.weights[index],
            None if self.labels is None else self.labels[index],
        )
