"""The space of covariance matrices, with a bijection to unconstrained vectors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.transforms import Transform


class Covariances(constraints.Constraint):
    """Symmetric positive definite matrices, with a bijection to their d (d + 1) / 2 free numbers.

    torch's own constraint `positive_definite` maps from d * d numbers, some of which have no effect, while NUTS and
    Gaussian guides need a bijection.

    Args:
        family: One with a buffer `unit` (d,), the units in which rows and columns are measured; None for units of 1.
    """

    event_dim = 2

    def __init__(self, family: Any = None):
        self.family = family

    def __repr__(self) -> str:
        return "symmetric positive definite matrices"

    def check(self, value: Tensor) -> Tensor:
        """Whether each matrix of value (..., d, d) is a covariance: (...)."""
        return constraints.positive_definite.check(value)


covariances = Covariances()


class FromCholesky(Transform):
    """Map vectors (..., d (d + 1) / 2) to D L L' D, with D the units of the columns.

    A vector holds L, a Cholesky factor, row by row, with the logarithms of its diagonal.
    """

    domain = constraints.real_vector
    codomain = covariances
    bijective = True

    def __init__(self, family: Any = None, cache_size: int = 0):
        super().__init__(cache_size)
        self.family = family

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same map, with torch's cache of the last value."""
        return FromCholesky(self.family, cache_size)

    def _units(self, y: Tensor) -> Tensor:
        unit = y.new_ones(y.shape[-1]) if self.family is None else self.family.unit
        return unit * unit.unsqueeze(-1)

    def _call(self, x: Tensor) -> Tensor:
        d = int((math.sqrt(8 * x.shape[-1] + 1) - 1) / 2)
        rows, columns = torch.tril_indices(d, d)
        factor = x.new_zeros(*x.shape[:-1], d, d)
        factor[..., rows, columns] = torch.where(rows == columns, x.exp(), x)
        product = factor @ factor.mT
        return product * self._units(product)

    def _inverse(self, y: Tensor) -> Tensor:
        factor = torch.linalg.cholesky(y / self._units(y))
        rows, columns = torch.tril_indices(*y.shape[-2:])
        x = factor[..., rows, columns]
        on = rows == columns
        return torch.where(on, torch.where(on, x, 1.0).log(), x)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |d (lower triangle of D L L' D) / d x| = d log 2 + sum_i (d - i + 1) log L[i, i] + (d + 1) log D[i, i],
        i = 0 .. d - 1."""
        d = y.shape[-1]
        rows, columns = torch.tril_indices(d, d)
        powers = torch.arange(d + 1, 1, -1, dtype=x.dtype, device=x.device)
        units = 0.5 * (d + 1) * self._units(y).diagonal().log().sum()
        return d * math.log(2) + x[..., rows == columns] @ powers + units

    def forward_shape(self, shape: Any) -> torch.Size:
        """(..., d (d + 1) / 2) to (..., d, d)."""
        d = int((math.sqrt(8 * shape[-1] + 1) - 1) / 2)
        return torch.Size([*shape[:-1], d, d])

    def inverse_shape(self, shape: Any) -> torch.Size:
        """(..., d, d) to (..., d (d + 1) / 2)."""
        return torch.Size([*shape[:-2], shape[-1] * (shape[-1] + 1) // 2])


@biject_to.register(Covariances)
@transform_to.register(Covariances)
def _from_cholesky(constraint: Covariances) -> Transform:
    return FromCholesky(constraint.family)
