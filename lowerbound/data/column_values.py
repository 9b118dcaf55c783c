"""The values of each column of numbers: which occur, how often, and in what order. One pass over the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from .row_reader import RowReader

MOST_VALUES = 1 << 14  # distinct values of a column that are counted
LARGEST = 2**53  # beyond which float64 has no odd numbers


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
        mean: Their mean.
        squares: The sum of squared deviations from the mean.
        step: Of whole numbers the greatest common divisor of their differences, 0 if there are none.
        least_step: The least difference between a value and the one before it: above 0 if they increase.
        largest_step: The largest one.
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
    mean: float = 0.0
    squares: float = 0.0
    step: int = 0
    least_step: float = np.inf
    largest_step: float = -np.inf
    first: float = np.inf
    last: float = -np.inf

    @classmethod
    def of(cls, x: Float[np.ndarray, " n"], is_counted: bool = True) -> ColumnValues:
        """Those of the values of some rows, in their order; NaN is missing.

        is_counted: whether distinct values are looked for. Without it, `values` is empty and not complete.
        """
        x = x[~np.isnan(x)]
        if not len(x):
            return cls()
        low, high, steps = float(x.min()), float(x.max()), np.diff(x)
        is_whole = bool((x == np.round(x)).all())
        values, counts = x, np.empty(0, np.int64)
        if is_counted and is_whole and high - low < MOST_VALUES:  # without sorting
            every = np.bincount((x - low).astype(np.int64))
            values, counts = np.flatnonzero(every) + low, every[every > 0]
        elif is_counted:
            values, counts = np.unique(x, return_counts=True)
        step = 0
        if is_whole and max(-low, high) <= LARGEST:
            step = int(np.gcd.reduce((values - low).astype(np.int64)))
        with np.errstate(over="ignore"):  # a variance that is infinite is refused where it is needed
            mean = float(x.mean())
            squares = float(np.square(x - mean).sum())
        least, largest = (float(steps.min()), float(steps.max())) if len(steps) else (np.inf, -np.inf)
        return cls(
            len(x), values if is_counted else np.empty(0), counts, is_counted, is_whole, low, high, mean, squares, step,
            least, largest, float(x[0]), float(x[-1]),
        )  # fmt: skip

    def __add__(self, later: ColumnValues) -> ColumnValues:
        if not self.count or not later.count:
            return self if self.count else later
        values, counts, complete = self.values, self.counts, self.is_complete and later.is_complete
        if self.is_complete:
            values, place = np.unique(np.concatenate([values, later.values]), return_inverse=True)
            counts = np.bincount(place, np.concatenate([counts, later.counts])).astype(np.int64)
        count, between = self.count + later.count, later.first - self.last
        is_whole, low, high = self.is_whole and later.is_whole, min(self.low, later.low), max(self.high, later.high)
        step = 0
        if is_whole and max(-low, high) <= LARGEST:
            step = math.gcd(self.step, later.step, int(self.low) - int(later.low))
        shift = later.mean - self.mean  # means and squares as Chan, Golub and LeVeque (1979) add them
        with np.errstate(over="ignore"):
            squares = self.squares + later.squares + float(np.square(shift)) * self.count * later.count / count
        return ColumnValues(
            count, values, counts, complete and len(values) <= MOST_VALUES, is_whole, low, high,
            self.mean + shift * later.count / count, squares, step,
            min(self.least_step, later.least_step, between), max(self.largest_step, later.largest_step, between),
            self.first, later.last,
        )  # fmt: skip

    @property
    def distinct(self) -> int:
        """How many different values were counted."""
        return len(self.values)

    @property
    def increases(self) -> bool:
        """Whether each value is larger than the one before it."""
        return self.least_step > 0

    @property
    def all_differ(self) -> bool:
        """Whether no value occurs twice."""
        return self.increases or (self.is_complete and self.distinct == self.count)

    @property
    def variance(self) -> float:
        """Their variance."""
        return self.squares / max(self.count, 1)

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


def column_values(rows: RowReader) -> list[ColumnValues]:
    """The values of each column of these rows; of a column of categories the codes."""
    found = [ColumnValues()] * rows.features
    for chunk in rows.chunks():
        columns = zip(found, chunk.x.T.numpy(), strict=True)
        found = [each + ColumnValues.of(column, each.is_complete) for each, column in columns]
    return found


def joined_values(parts: list[ColumnValues], later: list[ColumnValues]) -> list[ColumnValues]:
    """The values of the columns of two parts of a table."""
    return [a + b for a, b in zip(parts, later, strict=True)]
