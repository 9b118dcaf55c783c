"""The distributions of a Gaussian's parameters as Pyro sites: the covariance Sigma, and the location given Sigma."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Gamma, Independent

from ..families.gaussian import Gaussian
from ..kernels.full_covariance import Full
from .inverse_wishart import InverseWishart
from .kl_divergences import divergence


def covariance_distribution(made: Gaussian, dof: Tensor, scatter: Float[Tensor, "*k s"]) -> Distribution:
    """Sigma ~ InverseWishart(dof, scatter), or variances ~ InverseGamma(dof / 2, scatter / 2), as one event.

    made: says which form covariances have; scatter: (..., s) as the form packs matrices, spherical (..., 1).
    """
    if made.shape is Full:
        each: Any = InverseWishart(dof, Full.scale(scatter, made.features)[0], validate_args=False)
    else:
        if made.shape.scale_dims == 0:
            scatter = scatter.squeeze(-1)
        elif dof.ndim:
            dof = dof.unsqueeze(-1)
        each = dist.InverseGamma(0.5 * dof.expand_as(scatter), 0.5 * scatter, validate_args=False)
    return each.to_event(len(each.batch_shape)) if each.batch_shape else each


def location_distribution(made: Gaussian, spread: Tensor, loc: Tensor, weight: Float[Tensor, " k"]) -> Distribution:
    """loc | Sigma ~ N(loc, Sigma / weight), all components as one event.

    spread: a value of the site of Sigma, or several draws of it; loc: (k, d), or (d,) for all.
    """
    k, d = made.components, made.features
    weight = weight.unsqueeze(-1)
    if made.tied:  # one Sigma for all components: a dimension for them, after that of draws
        spread = spread.unsqueeze(-1 - made.shape.scale_dims)
    if made.shape is Full:
        factor = torch.linalg.cholesky(spread) / weight.unsqueeze(-1).sqrt()
        return dist.MultivariateNormal(loc.expand(k, d), scale_tril=factor, validate_args=False).to_event(1)
    variance = (spread if made.shape.scale_dims == 1 else spread.unsqueeze(-1)) / weight
    deviation = variance.sqrt().expand(*variance.shape[:-2], k, d)
    return dist.Normal(loc.expand_as(deviation), deviation).to_event(2)


def covariance_divergence(q: Any, p: Any) -> Float[Tensor, ""]:
    """KL(q || p) of two distributions of Sigma in nats; for inverse gammas, by the gammas of the precisions."""
    while isinstance(q, Independent):
        q, p = q.base_dist, p.base_dist
    if isinstance(q, InverseWishart):
        return divergence(q, p).sum()
    gammas = [Gamma(each.concentration, each.rate, validate_args=False) for each in (q, p)]
    return divergence(*gammas).sum()
