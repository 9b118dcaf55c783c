"""Covariances without correlations: one standard deviation per column, or one for all columns."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution


class Diagonal:
    """Sigma = diag(scale^2): S(y) holds the d squares."""

    name = "scale"
    scale_dims = 1

    @staticmethod
    def size(d: int) -> int:
        """The length of S(y)."""
        return d

    @staticmethod
    def pairs(d: int) -> tuple[Sequence[int], Sequence[int]]:
        """The two columns whose product each statistic, or each term of one, is."""
        return range(d), range(d)

    @staticmethod
    def products(y: Tensor) -> Tensor:
        """S(y) (s, n) of y (d, n)."""
        return y * y

    @staticmethod
    def gram(y: Tensor, weight: Tensor) -> Tensor:
        """The weighted sums of S(y) (..., d, n) over n, (..., s)."""
        return ((y * y) @ weight.unsqueeze(-1)).squeeze(-1)

    @staticmethod
    def diagonal(packed: Tensor, d: int) -> Tensor:
        """The variances of a packed covariance: it holds nothing else."""
        return packed

    @staticmethod
    def product(a: Tensor, b: Tensor) -> Tensor:
        """The symmetric bilinear form of rows (k, d) with product(m, m) = S(m): (k, d)."""
        return a * b

    @staticmethod
    def scale(covariance: Tensor, d: int) -> tuple[Tensor, Tensor]:
        """Standard deviations of variances (..., d), and (...) whether all are positive."""
        return covariance.clamp(min=torch.finfo(covariance.dtype).tiny).sqrt(), (covariance > 0).all(-1)

    @staticmethod
    def coefficients(scale: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients of y and of S(y) in y' P y - 2 y' P m, with P = inv(Sigma): (k, d) and (k, s)."""
        precision = scale**-2
        return -2 * precision * m, precision

    @staticmethod
    def whiten(scale: Tensor, y: Tensor) -> Tensor:
        """y / scale for y (..., d, n)."""
        return y / scale.unsqueeze(-1)

    @staticmethod
    def log_det(scale: Tensor, d: int) -> Tensor:
        """log |Sigma| (...)."""
        return 2 * scale.log().sum(-1)

    @staticmethod
    def relative(scale: Tensor, reference: Tensor, d: int) -> Tensor:
        """The smallest ratio (k,) of the variances to those of `reference` (k, d)."""
        return (scale**2 / reference).amin(-1)

    @staticmethod
    def matrix(scale: Tensor, d: int) -> Tensor:
        """Sigma (..., d, d)."""
        return torch.diag_embed(scale**2)

    @staticmethod
    def covariance(scale: Tensor, d: int) -> Tensor:
        """Variances (..., d)."""
        return scale**2

    @staticmethod
    def trace(scale: Tensor, packed: Tensor, d: int) -> Tensor:
        """tr(inv(Sigma) M) for packed M (..., d)."""
        return (packed / scale**2).sum(-1)

    @staticmethod
    def distribution(loc: Tensor, scale: Tensor) -> Distribution:
        """N(loc, Sigma)."""
        return dist.Normal(loc, scale).to_event(1)


class Spherical:
    """Sigma = scale^2 I: S(y) is the one number |y|^2."""

    name = "scale"
    scale_dims = 0

    @staticmethod
    def size(d: int) -> int:
        """The length of S(y)."""
        return 1

    @staticmethod
    def pairs(d: int) -> tuple[Sequence[int], Sequence[int]]:
        """The two columns whose product each statistic, or each term of one, is."""
        return Diagonal.pairs(d)

    @staticmethod
    def products(y: Tensor) -> Tensor:
        """S(y) (1, n) of y (d, n)."""
        return (y * y).sum(0, keepdim=True)

    @staticmethod
    def gram(y: Tensor, weight: Tensor) -> Tensor:
        """The weighted sums of S(y) (..., d, n) over n, (..., 1)."""
        return ((y * y) @ weight.unsqueeze(-1)).sum(-2)

    @staticmethod
    def diagonal(packed: Tensor, d: int) -> Tensor:
        """The variances of a packed covariance: it holds nothing else."""
        return packed

    @staticmethod
    def product(a: Tensor, b: Tensor) -> Tensor:
        """The symmetric bilinear form of rows (k, d) with product(m, m) = S(m): (k, 1)."""
        return (a * b).sum(-1, keepdim=True)

    @staticmethod
    def scale(covariance: Tensor, d: int) -> tuple[Tensor, Tensor]:
        """The standard deviation of a trace (..., 1), and (...) whether it is positive."""
        trace = covariance.squeeze(-1)
        return (trace / d).clamp(min=torch.finfo(trace.dtype).tiny).sqrt(), trace > 0

    @staticmethod
    def coefficients(scale: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients of y and of S(y) in y' P y - 2 y' P m, with P = inv(Sigma): (k, d) and (k, s)."""
        precision = scale.unsqueeze(-1) ** -2
        return -2 * precision * m, precision

    @staticmethod
    def whiten(scale: Tensor, y: Tensor) -> Tensor:
        """y / scale for y (..., d, n)."""
        return y / scale[..., None, None]

    @staticmethod
    def log_det(scale: Tensor, d: int) -> Tensor:
        """log |Sigma| (...)."""
        return 2 * d * scale.log()

    @staticmethod
    def relative(scale: Tensor, reference: Tensor, d: int) -> Tensor:
        """The ratio (k,) of the variance to that of `reference` (k, 1)."""
        return scale**2 / (reference.squeeze(-1) / d)

    @staticmethod
    def matrix(scale: Tensor, d: int) -> Tensor:
        """Sigma (..., d, d)."""
        return scale[..., None, None] ** 2 * torch.eye(d, dtype=scale.dtype, device=scale.device)

    @staticmethod
    def covariance(scale: Tensor, d: int) -> Tensor:
        """The trace (..., 1)."""
        return d * scale.unsqueeze(-1) ** 2

    @staticmethod
    def trace(scale: Tensor, packed: Tensor, d: int) -> Tensor:
        """tr(inv(Sigma) M) for the trace of M (..., 1)."""
        return packed.squeeze(-1) / scale**2

    @staticmethod
    def distribution(loc: Tensor, scale: Tensor) -> Distribution:
        """N(loc, scale^2 I)."""
        return dist.Normal(loc, scale.unsqueeze(-1).expand_as(loc)).to_event(1)
