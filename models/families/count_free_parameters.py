"""How many numbers of a parameter are free, given its constraint."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor
from torch.distributions import constraints


@runtime_checkable
class CountsFreeNumbers(Protocol):
    """A constraint of this package that says how many numbers of a parameter are free."""

    def free_numbers(self, parameter: Tensor) -> int: ...


def free_numbers(constraint: object, parameter: Tensor) -> int:
    """How many numbers of a parameter are free: fewer than it has on a simplex or in a triangular matrix."""
    if isinstance(constraint, CountsFreeNumbers):
        return constraint.free_numbers(parameter)
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if isinstance(constraint, type(constraints.simplex)):
        return parameter.numel() - parameter.numel() // parameter.shape[-1]
    d = parameter.shape[-1] if parameter.ndim else 1
    if constraint in (constraints.lower_cholesky, constraints.positive_definite):
        return parameter.numel() // (d * d) * (d * (d + 1) // 2) if parameter.ndim == 3 else parameter.numel()
    return parameter.numel()  # also for corr_cholesky, which has only the free numbers on the unconstrained side
