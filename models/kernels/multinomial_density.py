"""The multinomial probability of rows with large sums, by the entropy of their shares relative to the probabilities."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .special_functions import log1p_deficit, log_gamma_deficit


def multinomial_log_prob(x: Float[Tensor, "n d"], log_probs: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    """log(n! product over j of p[j]^x[j] / x[j]!) of each row of counts, with n its sum, in nats.

    log n!, log x! and x log p are as large as n log n, and lose as many digits: 0.001 nats at n = 1e12. Here they are
    joined to the sum over columns of m ((1 + u) log(1 + u) - u), where m = n p and 1 + u = x / m, and to what is left
    of the factorials by Stirling's formula.
    """
    total = x.sum(-1)
    expected = total[:, None, None] * log_probs.exp()  # (n, k, d)
    x = x.unsqueeze(1)
    some = (x > 0) & (expected > 0)
    m = torch.where(some, expected, 1.0)
    u = (torch.where(some, x, 1.0) - m) / m
    terms = torch.where(some, m * (u * torch.log1p(u) - log1p_deficit(u)), expected)
    terms = torch.where((x > 0) & (expected <= 0), torch.inf, terms)
    return (_excess(total).unsqueeze(-1) - _excess(x).sum(-1)) - terms.sum(-1)


def _excess(x: Tensor) -> Tensor:
    """log x! - x log x + x, 0 at x = 0."""
    positive = x.clamp(min=1.0)
    return torch.where(x > 0, positive.log() - log_gamma_deficit(positive), 0.0)
