"""Means, variances and gaps of a table: what is learned from its rows before a fit."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


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
