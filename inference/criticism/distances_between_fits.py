"""How far apart two fitted models are, with their components aligned: in parameters and in posteriors of z."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from pyro.nn import PyroModule
from torch.distributions import Categorical, constraints, transform_to

from ...models import LatentModel, Rows, SupportsPosterior
from ...models.abilities import HasComponents
from ..engines.data_bound import EVALUATION_ROWS
from .align import align
from .comparison import Comparison
from .kl import kl


@torch.no_grad()
def pair_distances(a: LatentModel, b: LatentModel, rows: Rows) -> dict[str, float]:
    """The columns parameter_distance and posterior_kl of `Comparison.pairs`, NaN where components cannot be matched."""
    try:
        order = align(a, b, rows)
    except (TypeError, ValueError):  # continuous latents, or different numbers of components
        return {"parameter_distance": math.nan, "posterior_kl": math.nan}
    total = 0.0
    for chunk in rows.chunks(EVALUATION_ROWS):
        ours, theirs = a.posterior(chunk.x), b.posterior(chunk.x)
        divergence = kl(ours, Categorical(logits=theirs.logits[:, order]))  # type: ignore[attr-defined]
        total += float(divergence.sum() if chunk.weights is None else divergence @ chunk.weights)
    distance = math.nan
    if isinstance(b, HasComponents):
        first, second = (m.centre() if isinstance(m, SupportsPosterior) else m for m in (a, b))
        second: Any = copy.deepcopy(second)
        second.permute(order)
        distance = parameter_distance(first, second)
    return {"parameter_distance": distance, "posterior_kl": total / rows.total_weight}


def parameter_distance(a: Any, b: Any) -> float:
    """The largest difference between the parameters of two models of one kind, NaN if they are of different kinds.

    Probabilities are compared as they are. Rates of counts, which may be 0, are compared by twice their square roots:
    on that scale a count has a standard deviation of 1. All others are compared in unconstrained coordinates: locations
    in units of the data, scales by their logarithms.
    """
    largest = 0.0
    theirs = dict(b.named_modules())
    for path, module in a.named_modules():
        if not isinstance(module, PyroModule):
            continue
        other = theirs.get(path)
        if other is None or module._pyro_params.keys() != other._pyro_params.keys():
            return math.nan
        for name, (constraint, _) in module._pyro_params.items():
            left, right = _constrained(module, name), _constrained(other, name)
            if left.shape != right.shape:
                return math.nan
            if isinstance(constraint, type(constraints.nonnegative)):
                left, right = 2 * left.sqrt(), 2 * right.sqrt()
            elif isinstance(constraint, constraints.greater_than):  # a scale with a lower limit, which it may reach
                left, right = left.log(), right.log()
            elif not isinstance(constraint, (type(constraints.simplex), type(constraints.unit_interval))):
                to = transform_to(constraint)
                left, right = to.inv(left), to.inv(right)
            largest = max(largest, float((left - right).abs().max()))
    return largest


def _constrained(module: PyroModule, name: str) -> torch.Tensor:
    constraint, _ = module._pyro_params[name]
    return transform_to(constraint)(module.get_parameter(f"{name}_unconstrained")).detach()


def largest_distance(comparison: Comparison, column: str) -> float:
    """The largest entry of a column of `Comparison.pairs()`, NaN if some pair has none."""
    return float(comparison.pairs()[column].to_numpy().max(initial=0.0))
