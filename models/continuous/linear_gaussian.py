"""The linear-Gaussian model: posterior and log p(x) in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor


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
        projected = (y / self.scale) @ (self.loading / self.scale)
        return torch.cholesky_solve(projected.T, factor).T

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
        mean = self.posterior_mean(y, factor)
        squared = ((y - mean @ self.loading.T) / self.scale).square().sum(-1) + mean.square().sum(-1)
        log_determinant = 2 * (factor.diagonal().log().sum() + len(self.loc) * self.scale.log())
        return -0.5 * (squared + log_determinant + len(self.loc) * math.log(2 * math.pi))
