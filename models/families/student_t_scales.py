"""The latent scale u of a row under a Student t: density, posterior and statistics for the degrees of freedom.

x | u ~ N(loc, Sigma / u) with u ~ Gamma(dof / 2, dof / 2) is a t distribution. Given the row, u is
Gamma((dof + d) / 2, (dof + squared Mahalanobis distance) / 2): small for an outlier.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..kernels.special_functions import NOISE, gamma_shape, log_gamma_ratio, log_minus_digamma

LARGEST_DOF = 1e8  # from here on a t distribution is Gaussian to 1e-8
SMALLEST_DOF = 1e-3


def t_log_prob(
    dof: Float[Tensor, " k"], log_det: Tensor, squared: Float[Tensor, "n k"], d: Tensor | int
) -> Float[Tensor, "n k"]:
    """log t(x) in d dimensions, from log |Sigma|, (k,) or (n, k), and the squared Mahalanobis distances."""
    return at_centre(dof, log_det, d) - (dof + d) / 2 * torch.log1p(squared / dof)


def far_t_log_prob(
    dof: Float[Tensor, " k"], log_det: Tensor, log_distance: Float[Tensor, "n k"], d: Tensor | int
) -> Float[Tensor, "n k"]:
    """The same of rows so far away that the square of their distance overflows."""
    return at_centre(dof, log_det, d) - (dof + d) / 2 * (2 * log_distance - dof.log())


def at_centre(dof: Float[Tensor, " k"], log_det: Tensor, d: Tensor | int) -> Tensor:
    """log t(loc): the same for all rows of d dimensions."""
    half = dof / 2
    tail = log_gamma_ratio(half, torch.as_tensor(d / 2, dtype=half.dtype, device=half.device)) - d / 2 * half.log()
    return tail - 0.5 * (d * math.log(2 * math.pi) + log_det)


def scale_sums(
    dof: Float[Tensor, " k"], squared: Float[Tensor, "n k"], d: Tensor | int, responsibilities: Float[Tensor, "n k"]
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "k 3"]]:
    """r E[u | row], and three sums over rows: r times the row's part of the second derivative of log p in dof,
    r E[u | row], and r E[log u | row]."""
    dof = dof.detach()
    rate = (dof + squared.detach()) / 2
    shape = (dof + d) / 2
    u = shape / rate
    scaled = responsibilities * u
    logs = (responsibilities * (torch.digamma(shape) - rate.log())).sum(0)
    bend = responsibilities * 0.25 * torch.polygamma(1, shape) + scaled * (0.5 * u - 1) / (dof + d)
    return scaled, torch.stack([bend.sum(0), scaled.sum(0), logs], -1)


def newton_dof(dof: Tensor, mean: Tensor, curvature: Tensor, logs: Tensor) -> Tensor:
    """dof after a Newton step of log dof on the average log p(x), from the averages of u, of the rows' part of the
    curvature, and of log u. Where the function is not concave the step is 1 uphill. No step is longer than 2."""
    half = dof / 2
    slope = 0.5 * (log_minus_digamma(half) + 1 + logs - mean)
    curvature = curvature - 0.25 * torch.polygamma(1, half) + 0.5 / dof
    first, second = dof * slope, dof**2 * curvature + dof * slope  # in log dof
    step = torch.where(second < 0, -first / second, first.sign())
    return dof * torch.where(first.abs() < NOISE, 0.0, step).nan_to_num().clamp(-2.0, 2.0).exp()


def em_dof(mean: Tensor, logs: Tensor, expanded: bool) -> Tensor:
    """dof after the step of EM, which never lowers the bound. `expanded`: u was rescaled to mean 1 (parameter-expanded
    EM)."""
    return 2 * gamma_shape((mean.clamp(min=1e-300).log() if expanded else mean - 1) - logs)
