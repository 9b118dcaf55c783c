"""Multinomial rows drawn column by column, in memory that does not grow with their sums."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

BY_TRIAL = 10_000  # sums up to this are drawn trial by trial, as Pyro does: the same rows for the same seed


class MultinomialDraws(dist.Multinomial):
    """Pyro's multinomial, whose rows with large sums are drawn as one binomial for each column, given those before it.

    Pyro draws each trial by itself, which takes 8 bytes times the sum for each row: 8 TB for a sum of 1e12.
    """

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 (torch's signature)
        """Rows of shape (*sample_shape, *batch, d)."""
        if self.total_count <= BY_TRIAL:
            return super().sample(sample_shape)
        return counts_given_sum(self.total_count, self.probs.expand(self._extended_shape(sample_shape)))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same with more batch dimensions."""
        return super().expand(batch_shape, self._get_checked_instance(dist.Multinomial, _instance))


class DirichletMultinomialDraws(dist.DirichletMultinomial):
    """Pyro's Dirichlet-multinomial, drawn in the same way. Rows may have different sums (Pyro's must have the same)."""

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Rows of shape (*sample_shape, *batch, d)."""
        least, largest = (int(end) for end in self.total_count.aminmax())
        if least == largest <= BY_TRIAL:
            return super().sample(sample_shape)
        return counts_given_sum(self.total_count, self._dirichlet.sample(torch.Size(sample_shape)))


def counts_given_sum(total: int | Tensor, probs: Tensor) -> Tensor:
    """Multinomial rows (..., d) of this sum: x[j] ~ Binomial(what is left, probs[j] / their sum from j on).

    total: one sum for all rows, or one for each, of a shape that broadcasts to theirs.
    """
    left = torch.as_tensor(total).to(probs).expand(probs.shape[:-1])
    after = probs.flip(-1).cumsum(-1).flip(-1)
    columns = []
    for j in range(probs.shape[-1] - 1):
        share = (probs[..., j] / after[..., j]).nan_to_num(nan=0.0).clamp(0, 1)
        columns.append(torch.binomial(left, share))
        left = left - columns[-1]
    return torch.stack([*columns, left], -1)
