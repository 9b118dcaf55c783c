"""First values of the parameters of any distribution: the best of some candidates from means and variances."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import constraints, transform_to

ROWS_TRIED = 256  # rows on which the candidates are compared


def best_initial_values(
    make: Callable[..., Any],
    kinds: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    x: Float[Tensor, "n d"],
    responsibilities: Float[Tensor, "n k"],
    known: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The combination of candidates with the highest expected log-likelihood, for each component separately, and for
    each column separately where `make` gives distributions of single numbers.

    Args:
        make: A function from parameters by name to a distribution.
        kinds: The constraint of each parameter.
        shapes: The shape of each parameter.
        x: Some rows.
        responsibilities: The share of each component in them.
        known: Parameters that are not to be chosen, by name.
    """
    has_rows = responsibilities.sum(0) > 0  # a component without rows starts from all of them
    responsibilities = torch.where(has_rows, responsibilities, responsibilities.sum(1, keepdim=True))
    share = responsibilities / responsibilities.sum(0)
    mean = share.T @ x
    variance = (share.T @ x**2 - mean**2).clamp(min=1e-300)
    row = responsibilities.sum(1) / responsibilities.sum()
    centred = x - row @ x
    covariance = (centred * row.unsqueeze(1)).T @ centred
    candidates = [
        [known[name]] if name in known else _candidates(kinds[name], shapes[name], x, share, mean, variance, covariance)
        for name in kinds
    ]
    tried = torch.linspace(0, len(x) - 1, min(len(x), ROWS_TRIED)).long()
    y, r = x[tried], responsibilities[tried]
    best: Any = None
    for values in itertools.product(*candidates):
        log_prob = make(**dict(zip(kinds, values, strict=True))).log_prob(y.unsqueeze(-2))  # (n, k) or (n, k, d)
        value = (log_prob * (r if log_prob.ndim == 2 else r.unsqueeze(-1))).sum(0)
        value = value.nan_to_num(nan=-torch.inf, neginf=-1e300, posinf=-1e300)
        if best is None:
            best = value, values
            continue
        better = value > best[0]
        chosen = [torch.where(_like(better, new), new, old) for new, old in zip(values, best[1], strict=True)]
        best = torch.maximum(value, best[0]), chosen
    return dict(zip(kinds, best[1], strict=True))


def _candidates(
    kind: Any, shape: Any, x: Tensor, share: Tensor, mean: Tensor, variance: Tensor, covariance: Tensor
) -> list[Tensor]:
    """Values of a parameter with this constraint that are worth a try, each of `shape`."""
    deviation = variance.sqrt()
    positive = bool((x > 0).all())
    log_mean = share.T @ x.clamp(min=1e-300).log() if positive else mean
    log_square = share.T @ (x.clamp(min=1e-300).log()) ** 2 if positive else mean
    log_deviation = (log_square - log_mean**2).clamp(min=1e-12).sqrt() if positive else deviation
    middle = transform_to(kind)(torch.zeros(shape, dtype=x.dtype))
    if kind in (constraints.real, constraints.real_vector):
        found = [mean, log_mean, torch.zeros_like(mean)]
    elif kind is constraints.unit_interval:
        found = [middle, mean.clamp(1e-3, 1 - 1e-3), (1 / (1 + mean.abs())).clamp(1e-3, 1 - 1e-3)]
    elif kind is constraints.simplex:
        found = [middle, (mean.abs() + 1e-6) / (mean.abs() + 1e-6).sum(-1, keepdim=True)]
    elif kind.event_dim == 2:
        factor = torch.linalg.cholesky_ex(covariance + torch.diag(1e-9 * covariance.diagonal() + 1e-300))[0]
        found = [middle, (factor if "cholesky" in repr(kind).lower() else covariance).expand(shape)]
    else:
        size = mean.abs().clamp(min=1e-300)
        scales = [deviation, torch.ones_like(deviation), size, 1 / size, 1 / deviation]
        scales += [size / variance, size**2 / variance, log_deviation, 1 / log_deviation]
        found = [middle, *scales, 10 * torch.ones_like(deviation)]
    shaped = [torch.broadcast_to(f if f.ndim == len(shape) else f.mean(-1), shape).clone() for f in found]
    return [f for f in shaped if bool(torch.as_tensor(kind.check(f)).all())]


def _like(better: Tensor, value: Tensor) -> Tensor:
    """`better` with trailing dims, so that it broadcasts against `value`."""
    return better.reshape(*better.shape, *[1] * (value.ndim - better.ndim))
