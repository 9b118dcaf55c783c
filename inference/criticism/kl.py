"""`kl`: KL divergences in closed form, between categorical distributions and between Gaussians."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MultivariateNormal, Normal


def kl(q: Distribution, p: Distribution) -> Tensor:
    """KL(q || p) = E_q[log q - log p] in nats, in closed form.

    Categorical distributions:

        sum_k q_k (log q_k - log p_k),

    with 0 log 0 = 0; it is infinite if p excludes a category that q does not. Gaussians N(m_q, S_q) and N(m_p, S_p) in
    d dimensions, diagonal or full, in any pairing:

        (log |S_p| - log |S_q| - d + tr(S_p^-1 S_q) + (m_p - m_q)' S_p^-1 (m_p - m_q)) / 2,

    by triangular solves with Cholesky factors, so that no inverse and no determinant is formed. Bishop, Pattern
    Recognition and Machine Learning (2006), 1.6.1.

    Args:
        q: A `Categorical`, `Normal`, `Independent(Normal, 1)` or `MultivariateNormal`.
        p: A distribution of the same kind, of the same number of categories or dimensions. Batch shapes broadcast.

    Returns:
        The divergences, with the broadcast batch shape of q and p.

    Raises:
        TypeError: There is no closed form here for this pair.
        ValueError: q and p have different numbers of categories or dimensions.

    Example:
        >>> import torch
        >>> from torch.distributions import Categorical, Normal
        >>> from lowerbound.inference import kl
        >>> kl(Categorical(torch.tensor([0.5, 0.5])), Categorical(torch.tensor([0.25, 0.75])))
        tensor(0.1438)
        >>> kl(Normal(torch.tensor(1.0), 1.0), Normal(torch.tensor(0.0), 1.0))
        tensor(0.5000)
    """
    if isinstance(q, Categorical) and isinstance(p, Categorical):
        _same_size(q.logits.shape[-1], p.logits.shape[-1], "categories")
        # where q is 0 the term is 0, even if p is 0 too
        terms = torch.where(q.probs > 0, q.probs * (_log_probs(q) - _log_probs(p)), torch.zeros_like(q.probs))
        return terms.sum(-1).clamp(min=0)  # rounding can make it negative if q and p are nearly equal
    if isinstance(q, Normal) and isinstance(p, Normal):
        return _diagonal(q.loc, q.scale, p.loc, p.scale)
    if _is_diagonal(q) and _is_diagonal(p):
        (q_loc, q_scale), (p_loc, p_scale) = _diagonal_moments(q), _diagonal_moments(p)
        _same_size(q_loc.shape[-1], p_loc.shape[-1], "dimensions")
        return _diagonal(q_loc, q_scale, p_loc, p_scale).sum(-1)
    if _is_gaussian(q) and _is_gaussian(p):
        (q_loc, q_tril), (p_loc, p_tril) = _factor(q), _factor(p)
        _same_size(q_loc.shape[-1], p_loc.shape[-1], "dimensions")
        return _full(q_loc, q_tril, p_loc, p_tril)
    raise TypeError(
        f"got {type(q).__name__} and {type(p).__name__}, expected two Categoricals or two Gaussians (Normal, "
        "Independent(Normal, 1), MultivariateNormal): estimate other divergences by draws from q"
    )


def _log_probs(distribution: Categorical) -> Tensor:
    """log p, with -inf for p = 0: torch clamps given probabilities at eps before it takes their logarithm."""
    probs, logits = distribution.probs, distribution.logits
    eps = torch.finfo(probs.dtype).eps
    return torch.where((probs < eps) & (logits > math.log(eps) - 1e-3), probs.log(), logits)


def _diagonal(q_loc: Tensor, q_scale: Tensor, p_loc: Tensor, p_scale: Tensor) -> Tensor:
    ratio = q_scale / p_scale
    return 0.5 * (ratio**2 + ((q_loc - p_loc) / p_scale) ** 2 - 1) - ratio.log()


def _full(q_loc: Tensor, q_tril: Tensor, p_loc: Tensor, p_tril: Tensor) -> Tensor:
    d = q_loc.shape[-1]
    batch = torch.broadcast_shapes(q_loc.shape[:-1], p_loc.shape[:-1])
    factor = p_tril.expand(*batch, d, d)
    spread = torch.linalg.solve_triangular(factor, q_tril.expand(*batch, d, d), upper=False)
    shift = torch.linalg.solve_triangular(factor, (q_loc - p_loc).expand(*batch, d).unsqueeze(-1), upper=False)
    # log |S_q| - log |S_p| is twice the log of this ratio of diagonals
    log_ratio = (q_tril.diagonal(dim1=-2, dim2=-1) / p_tril.diagonal(dim1=-2, dim2=-1)).log().sum(-1)
    return 0.5 * (spread.square().sum((-2, -1)) - d + shift.square().sum((-2, -1))) - log_ratio


def _is_diagonal(distribution: Distribution) -> bool:
    return (
        isinstance(distribution, Independent)
        and isinstance(distribution.base_dist, Normal)
        and distribution.reinterpreted_batch_ndims == 1
    )


def _is_gaussian(distribution: Distribution) -> bool:
    return isinstance(distribution, MultivariateNormal) or _is_diagonal(distribution)


def _diagonal_moments(distribution: Distribution) -> tuple[Tensor, Tensor]:
    return distribution.base_dist.loc, distribution.base_dist.scale  # type: ignore[attr-defined]


def _factor(distribution: Distribution) -> tuple[Tensor, Tensor]:
    if isinstance(distribution, MultivariateNormal):
        return distribution.loc, distribution.scale_tril
    loc, scale = _diagonal_moments(distribution)
    return loc, torch.diag_embed(scale)


def _same_size(q: int, p: int, what: str) -> None:
    if q != p:
        raise ValueError(f"q has {q} {what} and p has {p}, expected the same number")
