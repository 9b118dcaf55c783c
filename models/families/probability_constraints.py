"""Parameters that are probabilities and may be exactly 0 or 1: maximum likelihood puts them there.

torch's own maps keep a tiny distance from the boundary. These reach it: a probability of 0 is -inf on the unconstrained
side and comes back as 0, so that 0 log 0 = 0 and what cannot happen has log-probability -inf.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints, transform_to
from torch.distributions.transforms import Transform


class Probability(type(constraints.unit_interval)):
    """A number in [0, 1], both ends included; unconstrained as log odds."""

    def __init__(self):
        super().__init__(0.0, 1.0)

    def __repr__(self) -> str:
        return "probabilities in [0, 1]"


class Simplexes(type(constraints.simplex)):
    """Vectors of probabilities (..., L), of which entries where `mask` (d, L) is False are 0 by construction.

    Unconstrained as logarithms; the entries left out are 0 there, and have no gradient.
    """

    def __init__(self, mask: Tensor):
        super().__init__()
        self.mask = mask

    def __repr__(self) -> str:
        return "probabilities that sum to 1, and 0 beyond the levels of a column"

    def check(self, value: Tensor) -> Tensor:
        """Whether each vector of value (..., d, L) is one of probabilities: (..., d)."""
        return super().check(value) & (value[..., ~self.mask] == 0).all(-1, keepdim=True)

    def free_numbers(self, parameter: Tensor) -> int:
        """How many entries are free: those in the mask but one in each vector."""
        vectors = parameter.numel() // self.mask.numel()
        return vectors * int((self.mask.sum(-1) - 1).sum())


class _Odds(Transform):
    domain = constraints.real
    codomain = constraints.unit_interval
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log() - torch.log1p(-y)


class _Logarithms(Transform):
    domain = constraints.independent(constraints.real, 1)
    codomain = constraints.simplex

    def __init__(self, mask: Tensor):
        super().__init__()
        self.mask = mask

    def _call(self, x: Tensor) -> Tensor:
        return torch.where(self.mask.to(x.device), log_simplexes(x, self.mask).exp(), 0.0)

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.where(self.mask.to(y.device), y.log(), 0.0)


def log_simplexes(unconstrained: Tensor, mask: Tensor) -> Tensor:
    """log of the probabilities of an unconstrained tensor (..., d, L), -inf where `mask` is False."""
    return torch.where(mask.to(unconstrained.device), unconstrained, -torch.inf).log_softmax(-1)


@transform_to.register(Probability)
def _odds(constraint: Probability) -> Transform:
    return _Odds()


@transform_to.register(Simplexes)
def _logarithms(constraint: Simplexes) -> Transform:
    return _Logarithms(constraint.mask)
