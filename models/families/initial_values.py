"""First values of the parameters of any distribution: the best of some guesses from means and variances."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import constraints, transform_to

LOOKED_AT = 256  # rows that the guesses are tried on


def best_guess(
    make: Callable[..., Any],
    kinds: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    x: Float[Tensor, "n d"],
    responsibilities: Float[Tensor, "n k"],
    known: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The combination of guesses with the highest expected log-likelihood, for each component by itself, and for each
    column where `make` gives distributions of numbers.

    make: parameters by name to a distribution; kinds, shapes: of each parameter, its constraint and its shape; known:
    the values of those that are.
    """
    some = responsibilities.sum(0) > 0  # a component without rows starts as all together
    responsibilities = torch.where(some, responsibilities, responsibilities.sum(1, keepdim=True))
    share = responsibilities / responsibilities.sum(0)
    mean = share.T @ x
    variance = (share.T @ x**2 - mean**2).clamp(min=1e-300)
    row = responsibilities.sum(1) / responsibilities.sum()
    centred = x - row @ x
    whole = (centred * row.unsqueeze(1)).T @ centred
    choices = [
        [known[name]] if name in known else _guesses(kinds[name], shapes[name], x, share, mean, variance, whole)
        for name in kinds
    ]
    some = torch.linspace(0, len(x) - 1, min(len(x), LOOKED_AT)).long()
    y, r = x[some], responsibilities[some]
    best: Any = None
    for values in itertools.product(*choices):
        log_prob = make(**dict(zip(kinds, values, strict=True))).log_prob(y.unsqueeze(-2))  # (n, k) or (n, k, d)
        value = (log_prob * (r if log_prob.ndim == 2 else r.unsqueeze(-1))).sum(0)
        value = value.nan_to_num(nan=-torch.inf, neginf=-1e300, posinf=-1e300)
        if best is None:
            best = value, values
            continue
        better = value > best[0]
        pick = [torch.where(_over(better, new), new, old) for new, old in zip(values, best[1], strict=True)]
        best = torch.maximum(value, best[0]), pick
    return dict(zip(kinds, best[1], strict=True))


def _guesses(kind: Any, shape: Any, x: Tensor, share: Tensor, mean: Tensor, variance: Tensor, whole: Tensor) -> list:
    """Values of a parameter that are worth a try, each of `shape`."""
    width = variance.sqrt()
    logs = share.T @ x.clamp(min=1e-300).log() if (x > 0).all() else mean
    spread = (share.T @ (x.clamp(min=1e-300).log()) ** 2 - logs**2).clamp(min=1e-12).sqrt() if (x > 0).all() else width
    plain = transform_to(kind)(torch.zeros(shape, dtype=x.dtype))
    found: list[Tensor] = [plain]
    if kind in (constraints.real, constraints.real_vector):
        found = [mean, logs, torch.zeros_like(mean)]
    elif kind is constraints.unit_interval:
        found = [plain, mean.clamp(1e-3, 1 - 1e-3), (1 / (1 + mean.abs())).clamp(1e-3, 1 - 1e-3)]
    elif kind is constraints.simplex:
        found = [plain, (mean.abs() + 1e-6) / (mean.abs() + 1e-6).sum(-1, keepdim=True)]
    elif kind.event_dim == 2:
        factor = torch.linalg.cholesky_ex(whole + torch.diag(1e-9 * whole.diagonal() + 1e-300))[0]
        found = [plain, (factor if "cholesky" in repr(kind).lower() else whole).expand(shape)]
    else:
        size = mean.abs().clamp(min=1e-300)
        scales = [
            width,
            torch.ones_like(width),
            size,
            1 / size,
            1 / width,
            size / variance,
            size**2 / variance,
            spread,
            1 / spread,
        ]
        found = [plain, *scales, 10 * torch.ones_like(width)]
    shaped = [torch.broadcast_to(f if f.ndim == len(shape) else f.mean(-1), shape).clone() for f in found]
    return [f for f in shaped if bool(torch.as_tensor(kind.check(f)).all())]


def _over(better: Tensor, value: Tensor) -> Tensor:
    return better.reshape(*better.shape, *[1] * (value.ndim - better.ndim))
