"""Parameters measured in the units of the data, so that gradient steps do not depend on those units.

`PyroParam` stores an unconstrained tensor u and returns a constrained value. Here the map between them uses two buffers
of the module, `origin` (k, d) and `unit` (d,): location = origin + unit * u, and row i of a Cholesky factor is unit[i]
times row i of an ordinary one. A step of 0.05 by Adam is then a twentieth of the standard deviation of a column, in
metres or in kilometres. A location that is 1e8 standard deviations from zero keeps all its digits. Both hold for every
Pyro program that trains the model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.transforms import LowerCholeskyTransform, Transform


class Located(constraints.Constraint):
    """Any real numbers, measured from a buffer of the module in another.

    Args:
        family: The module that has the parameter and the buffers.
        origin: The name of the buffer from which the parameter is measured.
        unit: The name of the buffer in which it is measured.
    """

    event_dim = 1

    def __init__(self, family: Any, origin: str = "origin", unit: str = "unit"):
        self.family, self.origin, self.unit = family, origin, unit

    def __repr__(self) -> str:
        return "finite numbers"

    def check(self, value: Tensor) -> Tensor:
        """Whether each vector of value (..., d) is finite: (...)."""
        return torch.isfinite(value).all(-1)


class ScaledCholesky(constraints.Constraint):
    """Lower-triangular matrices with a positive diagonal, whose rows are measured in `family.unit`."""

    event_dim = 2

    def __init__(self, family: Any):
        self.family = family

    def __repr__(self) -> str:
        return "lower-triangular matrices with a positive diagonal"

    def check(self, value: Tensor) -> Tensor:
        """Whether each matrix of value (..., d, d) is a Cholesky factor: (...)."""
        return constraints.lower_cholesky.check(value)

    def free_numbers(self, parameter: Tensor) -> int:
        """How many entries are free: those on and below the diagonals."""
        d = parameter.shape[-1]
        return parameter.numel() // (d * d) * (d * (d + 1) // 2)


class _Locate(Transform):
    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, constraint: Located, cache_size: int = 0):
        super().__init__(cache_size)
        self.constraint = constraint

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same map, which keeps its last value."""
        return _Locate(self.constraint, cache_size)

    @property
    def origin(self) -> Tensor:
        """What the parameter is measured from."""
        return self.constraint.family._buffers[self.constraint.origin]

    @property
    def unit(self) -> Tensor:
        """What it is measured in."""
        return self.constraint.family._buffers[self.constraint.unit]

    def _call(self, x: Tensor) -> Tensor:
        return self.origin + self.unit * x

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.origin) / self.unit

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of log unit over the entries of each vector."""
        return self.unit.expand_as(x).log().sum(-1)


class _ScaleRows(Transform):
    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky
    bijective = True

    def __init__(self, family: Any, cache_size: int = 0):
        super().__init__(cache_size)
        self.family = family
        self.plain = LowerCholeskyTransform()

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same map, which keeps its last value."""
        return _ScaleRows(self.family, cache_size)

    def _call(self, x: Tensor) -> Tensor:
        return self.family.unit.unsqueeze(-1) * self.plain(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.as_tensor(self.plain.inv(y / self.family.unit.unsqueeze(-1)))


@biject_to.register(Located)
@transform_to.register(Located)
def _locate(constraint: Located) -> Transform:
    return _Locate(constraint)


@transform_to.register(ScaledCholesky)
def _scale_rows(constraint: ScaledCholesky) -> Transform:
    return _ScaleRows(constraint.family)
