"""The values of each column of numbers: which occur, how often, and in what order. One pass over the rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, reduce

import numpy as np
from jaxtyping import Float, Int

from .rows import Rows

MOST_VALUES = 1 << 14  # distinct values of a column that are counted


@dataclass(frozen=True)
class ColumnValues:
    """The observed values of a column.

    Args:
        count: How many there are.
        values: (v,) the distinct ones, ascending; with more than 16,384 of them those that came first.
        counts: (v,) how often each occurs.
        is_complete: Whether `values` has all of them.
        is_whole: Whether all are whole numbers.
        low: The smallest.
        high: The largest.
        increases: Whether each is larger than the one before it.
        first: The value of the first row.
        last: The value of the last row.
    """

    count: int = 0
    values: Float[np.ndarray, " v"] = field(default_factory=lambda: np.empty(0))
    counts: Int[np.ndarray, " v"] = field(default_factory=lambda: np.empty(0, np.int64))
    is_complete: bool = True
    is_whole: bool = True
    low: float = np.inf
    high: float = -np.inf
    increases: bool = True
    first: float = np.inf
    last: float = -np.inf

    @classmethod
    def of(cls, x: Float[np.ndarray, " n"]) -> ColumnValues:
        """Those of the values of some rows, in their order; NaN is missing."""
        x = x[~np.isnan(x)]
        if not len(x):
            return cls()
        values, counts = np.unique(x, return_counts=True)
        return cls(
            len(x), values, counts, True, bool((values == np.round(values)).all()), float(values[0]), float(values[-1]),
            bool((np.diff(x) > 0).all()), float(x[0]), float(x[-1]),
        )  # fmt: skip

    def __add__(self, later: ColumnValues) -> ColumnValues:
        if not self.count or not later.count:
            return self if self.count else later
        values, counts, complete = self.values, self.counts, self.is_complete and later.is_complete
        if self.is_complete:
            values, place = np.unique(np.concatenate([values, later.values]), return_inverse=True)
            counts = np.bincount(place, np.concatenate([counts, later.counts])).astype(np.int64)
        return ColumnValues(
            self.count + later.count, values, counts, complete and len(values) <= MOST_VALUES,
            self.is_whole and later.is_whole, min(self.low, later.low), max(self.high, later.high),
            self.increases and later.increases and self.last < later.first, self.first, later.last,
        )  # fmt: skip

    @property
    def distinct(self) -> int:
        """How many different values were counted."""
        return len(self.values)

    @property
    def all_differ(self) -> bool:
        """Whether no value occurs twice."""
        return self.increases or (self.is_complete and self.distinct == self.count)

    @cached_property
    def mean(self) -> float:
        """The mean of the values that were counted."""
        return float(self.values @ self.counts / self.counts.sum())

    @cached_property
    def variance(self) -> float:
        """Their variance."""
        return float((self.values - self.mean) ** 2 @ self.counts / self.counts.sum())

    @property
    def codes(self) -> tuple[str, ...] | None:
        """The names of the values as levels of a category; None if they are 0, 1, ..., which are codes already."""
        if np.array_equal(self.values, np.arange(len(self.values))):
            return None
        return self.names

    @property
    def names(self) -> tuple[str, ...]:
        """The values as words: 1, 2, 9, or 0.5, 1.0, 1.5."""
        return tuple(str(int(v)) if self.is_whole else repr(float(v)) for v in self.values)


def column_values(rows: Rows) -> list[ColumnValues]:
    """The values of each column of these rows; of a column of categories the codes. Processes read a part each."""

    def scan() -> list[ColumnValues]:
        parts = ([ColumnValues.of(column) for column in chunk.x.T.numpy()] for chunk in rows.chunks())
        return reduce(_joined, parts, [ColumnValues()] * rows.features)

    return rows.reduced(scan, _joined)


def _joined(parts: list[ColumnValues], later: list[ColumnValues]) -> list[ColumnValues]:
    return [a + b for a, b in zip(parts, later, strict=True)]
