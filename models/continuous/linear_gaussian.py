"""The linear-Gaussian model: posterior and log p(x) in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor

from ...data.traced_rows import plain_rows


@dataclass(frozen=True)
class LinearGaussian:
    """x = loc + loading z + noise, so that x ~ N(loc, loading loading' + scale^2 I).

    z ~ N(0, I) and noise ~ N(0, scale^2 I). Nothing of size d x d is formed.

    Attributes:
        loc: (d,).
        loading: (d, q).
        scale: (), the standard deviation of the noise.

    Tipping & Bishop, Journal of the Royal Statistical Society B 61 (1999), 611-622.
    """

    loc: Float[Tensor, " d"]
    loading: Float[Tensor, "d q"]
    scale: Float[Tensor, ""]

    def precision(self) -> Float[Tensor, "q q"]:
        """The precision (q, q) of p(z | x), the same for every x: I + loading' loading / scale^2."""
        ratio = self.loading / self.scale
        return ratio.T @ ratio + torch.eye(ratio.shape[1], dtype=ratio.dtype, device=ratio.device)

    def posterior_mean(self, y: Float[Tensor, "n d"], factor: Float[Tensor, "q q"]) -> Float[Tensor, "n q"]:
        """E[z | x] of rows y = x - loc; factor is the Cholesky factor of `precision`."""
        mean = self._solve(y, factor)
        if bool(plain_rows(mean).isfinite().all()):
            return mean
        largest = _largest(y)
        return torch.where(mean.isfinite(), mean, _within_range(self._solve(y / largest, factor) * largest))

    def _solve(self, y: Float[Tensor, "n d"], factor: Float[Tensor, "q q"]) -> Float[Tensor, "n q"]:
        projected = (y / self.scale) @ (self.loading / self.scale)
        return torch.cholesky_solve(projected.T, factor).T

    def fitted(self, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """loading E[z | x] of rows y = x - loc."""
        factor = torch.linalg.cholesky(self.precision())
        found = self._solve(y, factor) @ self.loading.T
        if bool(plain_rows(found).isfinite().all()):
            return found
        largest = _largest(y)
        scaled = self._solve(y / largest, factor) @ self.loading.T * largest
        return torch.where(found.isfinite(), found, _within_range(scaled))

    def posterior(self, x: Float[Tensor, "n d"]) -> dist.MultivariateNormal:
        """p(z | x) = N(E[z | x], inverse of `precision`)."""
        precision = self.precision()
        mean = self.posterior_mean(x - self.loc, torch.linalg.cholesky(precision))
        return dist.MultivariateNormal(mean, precision_matrix=precision, validate_args=False)

    def log_evidence(self, y: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """log p(x) of rows y = x - loc, in nats.

        With m = E[z | x], the squared Mahalanobis distance of x is |y - loading m|^2 / scale^2 + |m|^2. A sum of
        squares keeps its digits where a difference would not.
        """
        factor = torch.linalg.cholesky(self.precision())
        squared = self._squared_distance(y, factor)
        if not bool((plain_rows(squared) < torch.inf).all()):  # beyond the largest number, or their difference
            largest = _largest(y)
            scaled = (self._squared_distance(y / largest, factor).sqrt() * largest.squeeze(-1)).square()
            squared = torch.where((squared < torch.inf) | ~y.isfinite().all(-1), squared, scaled)
        log_determinant = 2 * (factor.diagonal().log().sum() + len(self.loc) * self.scale.log())
        return -0.5 * (squared + log_determinant + len(self.loc) * math.log(2 * math.pi))

    def _squared_distance(self, y: Float[Tensor, "n d"], factor: Float[Tensor, "q q"]) -> Float[Tensor, " n"]:
        mean = self._solve(y, factor)
        return ((y - mean @ self.loading.T) / self.scale).square().sum(-1) + mean.square().sum(-1)


def _largest(y: Float[Tensor, "n d"]) -> Float[Tensor, "n 1"]:
    """The largest absolute value of each row, at least 1. Rows are divided by it where products would overflow."""
    return y.detach().abs().amax(-1, keepdim=True).clamp(min=1.0, max=torch.finfo(y.dtype).max)


def _within_range(value: Tensor) -> Tensor:
    """The largest number in place of infinity."""
    most = torch.finfo(value.dtype).max
    return value.clamp(-most, most)
