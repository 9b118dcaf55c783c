"""Ability: the expected log-likelihood from summed statistics, without another pass over the rows."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..family import Family
from ..hooks.density import not_written


class HasExpectedLogProb(Family):
    """A family whose statistics give the gradient of the bound (Fisher's identity) and MAP under any prior.

    It writes `expected_log_prob`. A family that inherits this ability from a base class, but lacks it, sets
    `has_expected_log_prob = False`. MAP means maximum a posteriori, the maximum of the posterior density.

    Example:
        >>> import torch
        >>> from lowerbound.models import HasExpectedLogProb, Poisson
        >>> family = Poisson(components=1, features=1)
        >>> isinstance(family, HasExpectedLogProb)
        True
        >>> family.expected_log_prob(torch.tensor([4.0]), torch.tensor([[10.0]])).item()  # 10 log(rate) - 4 rate
        -4.0
    """

    has_expected_log_prob = True

    def expected_log_prob(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, " k"]:
        """sum over rows of r log p(x | z = k), up to terms that no parameter changes; differentiable.

        Args:
            weight: Sums of responsibilities, in rows.
            total: Sums of r T(x).

        Returns:
            (k,) in nats.
        """
        raise not_written(self, "expected_log_prob", "for an M-step under any prior")
