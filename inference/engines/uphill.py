"""Whether a run that stopped is at a maximum: a short step up the gradient then gains nothing."""

from __future__ import annotations

import copy
from typing import Any

import torch

from ...models import Rows
from ...models.random_state import fixed_seed, gpus
from .data_bound import bound_gradient, data_bound

LARGE_GRADIENT = 1e-2  # nats per row: at a smaller one a step of length 1 gains about 1e-4
LENGTHS = (0.1, 0.01)  # in unconstrained parameters, which are in units of the data


def gain_uphill(model: Any, rows: Rows) -> float:
    """The most that a short step up the gradient, of all parameters or of one, raises the bound, in nats per row; 0 if
    none does.

    A large gradient alone does not say that there is something to gain: at a kink of the density, as the median of a
    Laplace distribution, the gradient jumps, and the maximum may be there.
    """
    gradient = bound_gradient(model, rows)
    if not gradient.isfinite().all() or not gradient.any():
        return 0.0
    trial, best = copy.deepcopy(model), 0.0
    free = [p for p in trial.parameters() if p.requires_grad]
    starts = [p.detach().clone() for p in free]
    whole = [
        part.reshape(p.shape).to(p) for part, p in zip(gradient.split([p.numel() for p in free]), free, strict=True)
    ]
    alone = [[part if i == j else torch.zeros_like(part) for j, part in enumerate(whole)] for i in range(len(whole))]
    with torch.no_grad(), fixed_seed(0, gpus(model)):
        before = float(data_bound(model, rows))
    for direction in [whole, *(alone if len(alone) > 1 else [])]:  # alone: where another parameter is at a kink
        norm = float(torch.cat([part.flatten() for part in direction]).norm())
        for length in LENGTHS if norm > LARGE_GRADIENT else ():
            for parameter, start, part in zip(free, starts, direction, strict=True):
                parameter.data = start + length / norm * part
            try:
                with torch.no_grad(), fixed_seed(0, gpus(model)):
                    best = max(best, float(data_bound(trial, rows)) - before)
            except (ArithmeticError, ValueError):  # a row or a parameter became impossible
                continue
    return best
