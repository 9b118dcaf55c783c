"""A chunk: some rows of a table in memory, with their weights and labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Chunk:
    """Some rows of a table, with their weights and labels.

    Args:
        x: (n, d) the rows.
        weights: (n,) row weights, or None where each row counts once.
        labels: (n,) known components, -1 where unknown, or None if no row has a label.
        row_numbers: (n,) the numbers of these rows in their table, counted from 0, or None where they are not known.

    Example:
        >>> from lowerbound.data import Rows
        >>> [chunk.x.shape for chunk in Rows([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).chunks(2)]
        [torch.Size([2, 2]), torch.Size([1, 2])]
    """

    x: Float[Tensor, "n d"]
    weights: Float[Tensor, " n"] | None
    labels: Int[Tensor, " n"] | None
    row_numbers: Int[Tensor, " n"] | range | None = None

    def take(self, index: Int[Tensor, " m"]) -> Chunk:
        """The rows at these positions of the chunk."""
        return Chunk(*(None if own is None else own[index] for own in self.arguments))  # type: ignore[arg-type]

    @property
    def numbers(self) -> Int[Tensor, " n"]:
        """`row_numbers` as a tensor."""
        known = self.row_numbers
        assert known is not None
        return torch.arange(known.start, known.stop) if isinstance(known, range) else known

    @property
    def arguments(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(x, weights, labels): the arguments of `model.expect` and of other methods of a model."""
        return self.x, self.weights, self.labels
