"""The negative binomial probability of large counts, from differences that keep their digits."""

from __future__ import annotations

import torch
from torch import Tensor

from .special_functions import log1p_deficit, log_gamma_deficit, stirling

LARGE_COUNT = 1e6  # above it, differences of log-gamma functions lose digits that matter


def log_prob_of_large_counts(x: Tensor, mean: Tensor, concentration: Tensor) -> Tensor:
    """log of Gamma(c + x) / (Gamma(c) x!) (c / (c + m))^c (m / (c + m))^x for counts x above 64, elementwise, in nats.

    Each factor is as large as x log x, and loses as many digits. By Stirling's formula, log p is -D plus terms of the
    size of log x, with D = x log(x / m) - (c + x) log((c + x) / (c + m)) >= 0. D is the difference of m phi(u) and
    (c + m) phi(w), where phi(u) = (1 + u) log(1 + u) - u, u = (x - m) / m and w = (x - m) / (c + m). Where c is smaller
    than these (counts that vary as gamma variates do), it is computed from terms of the size of c.

    Args:
        x: Counts above 64.
        mean: m > 0, counts.
        concentration: c > 0.
    """
    x, m, c = torch.broadcast_tensors(x, mean, concentration)
    away = x - m
    like_poisson = m * _phi(away / m)
    narrow = like_poisson - (c + m) * _phi(away / (c + m))
    near = (away / m).clamp(-0.5, 0.5)  # where the plain difference of logs cancels
    log_ratio = torch.where(away.abs() < 0.5 * m, torch.log1p(near), x.log() - m.log())
    wide = (c + x) * (torch.log1p(c / m) - torch.log1p(c / x)) - c * log_ratio
    d = torch.where(like_poisson < c, narrow, wide)
    return log_gamma_deficit(c) - 0.5 * ((c + x).log() + x.log()) - d + stirling(c + x) - stirling(x)


def _phi(u: Tensor) -> Tensor:
    """(1 + u) log(1 + u) - u for u > -1."""
    u = u.clamp(min=torch.finfo(u.dtype).eps - 1)  # rounding may take it to -1
    return u * torch.log1p(u) - log1p_deficit(u)
