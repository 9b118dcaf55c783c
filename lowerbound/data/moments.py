"""What is computed from a table before a fit: means, variances, covariances, and how many values are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Means and covariances of a table (divided by the total weight), or of each component of a mixture.

    Args:
        mean: (..., d).
        covariance: (..., d, d), in the squared units of the data.
        columns: (d,) the columns in words, such as "column 1 ('age')", or None: by their numbers.

    Example:
        >>> from lowerbound.data import Rows
        >>> Rows([[1.0, 2.0], [3.0, 6.0]]).moments.covariance
        tensor([[1., 2.],
                [2., 4.]], dtype=torch.float64)
    """

    mean: Float[Tensor, "*k d"]
    covariance: Float[Tensor, "*k d d"]
    columns: tuple[str, ...] | None = None

    def column(self, j: int) -> str:
        """Column j in words, for messages."""
        return _in_words(self.columns, j)

    def part(self, group: Sequence[int]) -> Moments:
        """The moments of some of the columns, which keep their numbers and names."""
        own = list(group)
        words = tuple(self.column(j) for j in own)
        return Moments(self.mean[..., own], self.covariance[..., own, :][..., own], words)


@dataclass(frozen=True)
class Spread:
    """Mean and variance of each column of a table, divided by the total weight.

    Args:
        mean: (d,).
        variance: (d,), in the squared units of the data.
        columns: (d,) the columns in words, such as "column 1 ('age')", or None: by their numbers.

    Example:
        >>> from lowerbound.data import Rows
        >>> Rows([[1.0, 2.0], [3.0, 6.0]]).spread.variance
        tensor([1., 4.], dtype=torch.float64)
    """

    mean: Float[Tensor, " d"]
    variance: Float[Tensor, " d"]
    columns: tuple[str, ...] | None = None

    def column(self, j: int) -> str:
        """Column j in words, for messages."""
        return _in_words(self.columns, j)


@dataclass(frozen=True)
class MissingValues:
    """How many values of a table are missing. Counts of several parts of a table add with `+`.

    Args:
        cells: How many values are missing.
        rows: How many rows have at least one missing value.
        first: The first missing value in words, such as "row 3, column 1 ('age') is missing".

    Example:
        >>> from lowerbound.data import Rows
        >>> Rows([[1.0, float("nan")], [3.0, 6.0]], missing=True).gaps
        MissingValues(cells=1, rows=1, first='row 0, column 1 is missing')
    """

    cells: int = 0
    rows: int = 0
    first: str = ""

    def __add__(self, other: MissingValues) -> MissingValues:
        return MissingValues(self.cells + other.cells, self.rows + other.rows, self.first or other.first)


def _in_words(columns: tuple[str, ...] | None, j: int) -> str:
    return f"column {j}" if columns is None else columns[j]
