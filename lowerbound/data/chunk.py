"""A chunk: some rows of a table, with their weights and labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Chunk:
    """Some rows: x (n, d), weights (n,) or None for ones, labels (n,) or None, -1 where unknown."""

    x: Float[Tensor, "n d"]
    weights: Float[Tensor, " n"] | None
    labels: Int[Tensor, " n"] | None
    where: Int[Tensor, " n"] | range | None = None  # `numbers`; None: not known

    def pick(self, index: Int[Tensor, " m"]) -> Chunk:
        """Some of the rows."""
        return Chunk(*(None if own is None else own[index] for own in self.arguments))  # type: ignore[arg-type]

    @property
    def numbers(self) -> Int[Tensor, " n"]:
        """Those of the rows in the table."""
        assert self.where is not None
        return torch.arange(self.where.start, self.where.stop) if isinstance(self.where, range) else self.where

    @property
    def arguments(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(x, weights, labels), as the methods of a model take them."""
        return self.x, self.weights, self.labels
