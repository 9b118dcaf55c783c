"""The posterior predictive density of Gaussians under a normal-inverse-Wishart posterior: Student's t."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from ..families.gaussian import Gaussian
from ..families.student_t_scales import far_t_log_prob, t_log_prob
from ..kernels.full_covariance import Full
from ..kernels.gaussian_conditional import ConditionalGaussian
from ..kernels.gaussian_pass import log_density, log_distance


def degrees_and_scales(made: Gaussian, dof: Tensor, location_weight: Tensor) -> tuple[Float[Tensor, " k"], Tensor]:
    """The degrees of freedom and the scales of each component's t distribution.

    made: Gaussians at the mean of loc and at the inverse of the expected precision; dof, location_weight: (k,), of q.
    """
    own = dof - made.features + 1 if made.shape is Full else dof
    wider = ((location_weight + 1) / location_weight * dof / own).sqrt()
    scales = made.scales()
    return own, scales * wider.reshape(-1, *[1] * (scales.ndim - 1))


def student_t(made: Gaussian, dof: Float[Tensor, " k"], scales: Tensor, z: Any) -> Distribution:
    """The t distributions of components z: multivariate, or one for each column if each has its own variance."""
    loc = made.loc[z]
    if made.shape.scale_dims == 1:
        return dist.StudentT(dof[z].unsqueeze(-1), loc, scales[z]).to_event(1)
    if made.shape.scale_dims == 0:
        scales = scales[:, None, None] * torch.eye(made.features, dtype=scales.dtype, device=scales.device)
    return dist.MultivariateStudentT(dof[z], loc, scales[z])


def student_t_log_prob(
    made: Gaussian, dof: Float[Tensor, " k"], scales: Tensor, x: Float[Tensor, "n d"]
) -> Float[Tensor, "n k"]:
    """Their log densities in nats, of the observed values of each row."""
    d = made.features
    y = x.unsqueeze(-2) - made.origin - made.loc_from_origin()  # (n, k, d)
    if made.shape.scale_dims == 1:
        column = dist.StudentT(dof.unsqueeze(-1), torch.zeros_like(scales), scales)
        return torch.where(y.isnan(), 0.0, column.log_prob(y.nan_to_num(nan=0.0))).sum(-1)
    if x.isnan().any():
        given = ConditionalGaussian(made.shape, scales, y)
        return t_log_prob(dof, given.log_det, given.squared, given.observed)
    y, log_det = y.permute(1, 2, 0), made.shape.log_det(scales, d)
    squared = (-2 * log_density(made.shape, scales, y).T - d * math.log(2 * math.pi) - log_det).clamp(min=0)
    found = t_log_prob(dof, log_det, squared, d)
    if squared.isfinite().all():
        return found
    away = log_distance(made.shape, scales, y).T
    return torch.where(squared.isfinite(), found, far_t_log_prob(dof, log_det, away, d))
