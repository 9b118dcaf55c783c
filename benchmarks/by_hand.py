"""The EM of a full-covariance mixture that a torch user writes: no library, no blocks, no care for digits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal


def em(x: Tensor, weights: Tensor, loc: Tensor, scale_tril: Tensor) -> Callable[[], float]:
    """A function that makes one pass over x (n, d), the M-step first, and returns its mean log-likelihood."""
    shares: Tensor | None = None

    def one_pass() -> float:
        nonlocal weights, loc, scale_tril, shares
        if shares is not None:
            count = shares.sum(0)
            weights = count / len(x)
            loc = shares.T @ x / count[:, None]
            away = x[:, None] - loc  # (n, k, d)
            covariance = torch.einsum("nk,nkd,nke->kde", shares, away, away) / count[:, None, None]
            scale_tril = torch.linalg.cholesky(covariance)
        normal = MultivariateNormal(loc, scale_tril=scale_tril)
        joint = weights.log() + normal.log_prob(x[:, None])  # (n, k)
        evidence = torch.logsumexp(joint, 1)
        shares = (joint - evidence[:, None]).exp()
        return float(evidence.mean())

    return one_pass
