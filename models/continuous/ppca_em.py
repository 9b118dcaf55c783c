"""The two steps of EM for PPCA: expected statistics of rows, and the regression of x on z that they imply."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..contract import Statistics
from .linear_gaussian import LinearGaussian

ROUNDING = 1e-14  # of the mean square of a value: the noise variance that rounding may leave of 0


def expected_statistics(
    linear: LinearGaussian, x: Float[Tensor, "n d"], centred: Float[Tensor, "n d"], w: Float[Tensor, " n"]
) -> Statistics:
    """E-step: sums over rows of x, E[z], x E[z]', E[z z'] and x'x, in this order in `total`.

    x: rows minus the origin of the statistics; centred: rows minus loc; w: row weights.
    """
    factor = torch.linalg.cholesky(linear.precision())
    z = linear.posterior_mean(centred, factor)
    wx, wz = x * w[:, None], z * w[:, None]
    parts = (
        wx.sum(0),
        wz.sum(0),
        wx.T @ z,
        wz.T @ z + w.sum() * torch.cholesky_inverse(factor),
        (wx * x).sum(),
    )
    total = torch.cat([part.flatten() for part in parts]).unsqueeze(0)
    return Statistics(w.sum().reshape(1), total, linear.log_evidence(centred) @ w, w.sum())


def regress(
    statistics: Statistics, current: Float[Tensor, "d c"], frozen: Bool[Tensor, " c"]
) -> tuple[Float[Tensor, "d c"], Float[Tensor, ""]]:
    """M-step: least squares of x on (z, 1), and the mean square of its residuals.

    current: the coefficients [loading, loc] (d, q + 1) as they are; frozen: which of these columns keep their values.
    """
    d, q = current.shape[0], current.shape[1] - 1
    n = statistics.total_weight
    x, z, xz, zz, xx = statistics.total[0].split([d, q, d * q, q * q, 1])
    xz, zz = xz.reshape(d, q), zz.reshape(q, q)
    # [z; 1] [z; 1]' and x [z; 1]'
    gram = torch.cat([torch.cat([zz, z[:, None]], 1), torch.cat([z, n.reshape(1)])[None]])
    cross = torch.cat([xz, x[:, None]], 1)
    coefficients = current.clone()
    held, free = frozen.nonzero().squeeze(1), (~frozen).nonzero().squeeze(1)
    if len(free):  # fitted to the residuals of the frozen coefficients
        rest = cross[:, free] - coefficients[:, held] @ gram[held][:, free]
        coefficients[:, free] = torch.cholesky_solve(rest.T, torch.linalg.cholesky(gram[free][:, free])).T
    left = xx.squeeze() - (coefficients * cross).sum()
    if len(held):  # without frozen ones this term is 0: the residuals are orthogonal to the fitted values
        left = left - (coefficients * (cross - coefficients @ gram)).sum()
    return coefficients, (left / (n * d)).clamp(min=ROUNDING * xx.squeeze() / (n * d))
