"""Variational distributions: some rows of one, and one that gradients move within its family."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, Independent, transform_to

from ...models.continuous.distribution_views import parameters_of, rebuilt


def part(q: Distribution, rows: Tensor | None) -> Distribution:
    """Those rows of q, None for all."""
    return rebuilt(q, {name: value[... if rows is None else rows] for name, value in parameters_of(q).items()})


class Movable:
    """A distribution whose parameters can be moved: `free`, tensors in unconstrained coordinates."""

    def __init__(self, q: Distribution):
        self._q = q
        base = q
        while isinstance(base, Independent):
            base = base.base_dist
        self._to = {name: transform_to(base.arg_constraints[name]) for name in parameters_of(q)}
        start = {name: self._to[name].inv(value) for name, value in parameters_of(q).items()}
        self.free = {name: value.detach().clone().requires_grad_() for name, value in start.items()}

    def distribution(self) -> Distribution:
        """The distribution at the free tensors as they stand, differentiable in them."""
        return rebuilt(self._q, {name: self._to[name](value) for name, value in self.free.items()})
