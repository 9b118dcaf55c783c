"""Statistics of a whole table, computed chunk by chunk before a fit: moments, spread, missing values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from operator import add
from typing import Any, TypeVar

import torch
from torch import Tensor

from .chunk import Chunk
from .column_values import ColumnValues, column_values, joined_values
from .input_checks import describe_column, describe_first_value
from .moments import MissingValues, Moments, Spread
from .row_reader import RowReader
from .threads import one_thread

STATISTICS_CELLS = 1 << 18  # values read at a time here, where chunks are copied: 2 MiB
LEAST_VARIANCE = 1e-300  # near the smallest float64 of full precision, with room for products
EPSILON = 1e-15  # a share of the total weight that rounding hides
HEAVIEST = 1e150  # the largest sum of all weights

Made = TypeVar("Made")


class TableStatistics(RowReader):
    """Statistics of all rows of positive weight. Users see it as `Rows`.

    Rows are read in two passes, first for the mean, so that a mean far from 0 costs no digits. Missing values are left
    out of the statistics of their column.
    """

    def reduced(self, part: Callable[[], Made], merge: Callable[[Any, Any], Any] = add) -> Made:
        """`part()`, merged over all processes that share the table."""
        return part()

    @cached_property
    def moments(self) -> Moments:
        """Mean and covariance of all rows. With missing values, a covariance uses the rows that have both columns, and
        is shrunk so that the matrix stays positive semidefinite."""
        products = ((y if w is None else y * w[:, None]).T @ y for y, w in self._centred())
        with one_thread():
            covariance = self._summed(products) / torch.outer(self._observed_weight, self._observed_weight).sqrt()
        self._require_range(covariance.diagonal())
        return Moments(self._mean, covariance, self._words)

    @cached_property
    def spread(self) -> Spread:
        """Mean and variance of each column: much smaller than `moments` where there are many columns."""
        squares = ((y.square() if w is None else y.square() * w[:, None]).sum(0) for y, w in self._centred())
        variance = self._summed(squares) / self._observed_weight
        self._require_range(variance)
        return Spread(self._mean, variance, self._words)

    @cached_property
    def gaps(self) -> MissingValues:
        """The missing values in rows of positive weight."""
        return self.reduced(self._count_missing)

    @cached_property
    def column_values(self) -> list[ColumnValues]:
        """The different values of each column, of a column of categories its codes, in rows of positive weight."""
        return self.reduced(lambda: column_values(self), joined_values)

    @cached_property
    def _words(self) -> tuple[str, ...]:
        """The columns in words, with their names where they have some."""
        names = self.columns
        return tuple(describe_column(j, names) for j in range(self.features))

    @cached_property
    def _mean(self) -> Tensor:
        return self._summed(_weighted(c).nansum(0) for c in self._small_chunks()) / self._observed_weight

    @cached_property
    def _observed_weight(self) -> Tensor:
        """(d,) the total weight of the rows whose value is observed, for each column."""
        if not self.takes_missing:
            return torch.full((self.features,), self.total_weight, dtype=torch.float64)
        present = (((~c.x.isnan()).double(), c.weights) for c in self._small_chunks())
        observed = self._summed(seen.sum(0) if w is None else w @ seen for seen, w in present)
        if not (observed > 0).all():
            column = int((observed <= 0).nonzero()[0])
            raise ValueError(f"{self._words[column]} has no value in any row, expected some: drop the column")
        return observed

    def _count_missing(self) -> MissingValues:
        found = MissingValues()
        for chunk in self._small_chunks() if self.takes_missing else ():
            missing = chunk.x.isnan()
            count = int(missing.sum())
            if count:
                first = describe_first_value(missing, chunk.x, self.columns, chunk.row_numbers)
                first = first.removesuffix("holds nan") + "is missing"
                found += MissingValues(count, int(missing.any(1).sum()), first)
        return found

    def _small_chunks(self) -> Iterator[Chunk]:
        """Chunks for statistics, which copy what they read."""
        return self.chunks(max(1, STATISTICS_CELLS // self.features))

    def _summed(self, parts: Iterator[Tensor]) -> Tensor:
        return self.reduced(lambda: torch.as_tensor(sum(parts)))

    def _centred(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Chunks of x - mean, 0 for missing values, with their weights."""
        mean = self._mean
        return (((c.x.double() - mean).nan_to_num_(nan=0.0), c.weights) for c in self._small_chunks())

    def _require_range(self, variance: Tensor) -> None:
        """Raise ValueError if squares of the values, or sums of the weights, leave the range of float64."""
        if not 1 / HEAVIEST < self.total_weight < HEAVIEST:
            raise ValueError(
                f"the weights sum to {self.total_weight:g}, expected some number of rows (a row of weight 2 counts as "
                "two): divide them by their mean"
            )
        if self.weights is not None and self.positive > 1 and self.weights.max() >= (1 - EPSILON) * self.total_weight:
            row = int(self.weights.argmax())
            raise ValueError(
                f"weight {row} is {float(self.weights[row]):g}, beside which all others together count as nothing, "
                "expected weights that floating-point numbers can add up: leave this row out, or correct its weight"
            )
        finite = torch.isfinite(self._mean) & torch.isfinite(variance)
        if not finite.all():
            raise ValueError(
                f"{self._words[int((~finite).nonzero()[0])]} is too large: its square leaves the range of "
                "floating-point numbers, expected variances below 1e308: rescale it to another unit"
            )
        tiny = (variance > 0) & (variance < LEAST_VARIANCE)
        if tiny.any():
            raise ValueError(
                f"{self._words[int(tiny.nonzero()[0])]} is too small: its square leaves the range of "
                f"floating-point numbers, expected variances above {LEAST_VARIANCE:g}: rescale it to another unit"
            )
        self._values_checked = True


def _weighted(chunk: Chunk) -> Tensor:
    x = chunk.x.double()
    return x if chunk.weights is None else x * chunk.weights[:, None]
