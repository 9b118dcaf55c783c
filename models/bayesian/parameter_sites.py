"""Values of a mixture's parameters by the names of their Pyro sites: draws, log densities, relabelling.

theta is a dict such as {"weights": (k,), "loc": (k, d)}. With several draws each value has the draw on dim 0. A prior
or posterior is a generator of (name, distribution) pairs, because the distribution of a later site may depend on the
values of earlier ones: loc | covariance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution, biject_to

from ..families.family import Family

Theta = dict[str, Tensor]  # values of the parameters, by the names of their Pyro sites
Sites = Iterator[tuple[str, Distribution]]  # in the order in which they are drawn, each given those before it
View = tuple[Family, Float[Tensor, " k"]]  # a family and log weights: all that densities of a mixture need
Views = tuple[list[View], torch.Size]  # one for each point of the plates around a program, and their sizes


def draw_sites(sites: Sites, theta: Theta, draw: Callable[..., Tensor]) -> Theta:
    """theta with the value `draw(name, distribution)` of each site added, site by site."""
    for name, distribution in sites:
        theta[name] = draw(name, distribution)
    return theta


def sample_sites(sites: Sites, theta: Theta, draws: int) -> Theta:
    """theta with several draws of each site added, the draw on dim 0."""
    # a distribution with a batch shape depends on earlier draws: it has one entry for each of them already
    return draw_sites(sites, theta, lambda _, q: q.sample(() if q.batch_shape else (draws,)))


def sites_log_prob(sites: Sites, theta: Theta) -> Float[Tensor, "*s"]:
    """The log density of theta, or of each draw of it, under a prior or posterior, in nats."""
    return torch.stack([distribution.log_prob(theta[name]) for name, distribution in sites]).sum(0)


def reorder_components(value: Tensor, order: Int[Tensor, "*s k"]) -> Tensor:
    """value (k, ...) with its components in this order; for orders (s, k), each draw of value (s, k, ...) in its own
    order."""
    if order.ndim == 1:
        return value[order]
    return value[torch.arange(len(order)).unsqueeze(1), order]


def stack_draws(draws: list[Theta]) -> Theta:
    """Several values of theta as one, with the draw on dim 0."""
    return {name: torch.stack([theta[name] for theta in draws]) for name in draws[0]}


def value_inside(constraint: Any, shape: torch.Size) -> Tensor:
    """A value of this shape that satisfies the constraint: the point whose unconstrained coordinates are 0."""
    to = biject_to(constraint)
    return torch.as_tensor(to(torch.zeros(to.inverse_shape(shape), dtype=torch.float64)))
