"""Values of a mixture's parameters by the names of their Pyro sites: drawing them, their density, their labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution

from ..families.family import Family

Theta = dict[str, Tensor]  # values of the parameters, by the names of their Pyro sites


Sites = Iterator[tuple[str, Distribution]]  # in the order in which they are drawn, each given those before it


def reorder_components(value: Tensor, order: Int[Tensor, "*s k"]) -> Tensor:
    """value (k, ...) in this order; of (s, k, ...) each draw in its own."""
    if order.ndim == 1:
        return value[order]
    return value[torch.arange(len(order)).unsqueeze(1), order]


def draw_sites(sites: Sites, theta: Theta, draw: Any) -> Theta:
    """theta with `draw(name, distribution)` of each site, in turn: how all sites are gone through."""
    for name, distribution in sites:
        theta[name] = draw(name, distribution)
    return theta


def sites_log_prob(sites: Sites, theta: Theta) -> Float[Tensor, "*s"]:
    """The log density of theta, or of several draws of it, under a prior or posterior, in nats."""
    return torch.stack([distribution.log_prob(theta[name]) for name, distribution in sites]).sum(0)


def sample_sites(sites: Sites, theta: Theta, draws: int) -> Theta:
    """theta with draws of each site, on dim 0."""
    return draw_sites(sites, theta, lambda _, q: q.sample(() if q.batch_shape else (draws,)))


View = tuple[Family, Float[Tensor, " k"]]  # a family and log weights: one mixture, or what stands for all of them


def stack_draws(found: list[Theta]) -> Theta:
    """Several values of theta as one, with draws on dim 0."""
    return {name: torch.stack([theta[name] for theta in found]) for name in found[0]}


def value_inside(form: Any, shape: torch.Size) -> Tensor:
    """Some value that the constraint allows."""
    to = torch.distributions.biject_to(form)
    return to(torch.zeros(to.inverse_shape(shape), dtype=torch.float64))
