"""Draws of the parameters of a mixture, from a posterior or a bootstrap, under the names of a `BayesianMixture`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ...models import BayesianMixture, Mixture
from ...models.bayesian.parameter_sites import Theta
from ...models.families.family import Family
from .pointwise_log_likelihood import View

CHAINS, DRAWS = 4, 250  # chains of independent draws, and draws in each, by default


def posterior_draws(model: BayesianMixture, draws: int | None, chains: int | None, seed: int) -> tuple[Theta, int]:
    """Draws of q, and the number of chains: independent draws, or those that a sampler made."""
    if not model.is_sampled:
        chains = CHAINS if chains is None else int(chains)
        return model.draw(chains * (DRAWS if draws is None else int(draws)), seed), chains
    size = model.q.size
    if (draws or size.draws, chains or size.chains) != (size.draws, size.chains):
        raise ValueError(
            f"got {draws} draws and {chains} chains, expected none: a sampler has drawn {size.draws} in each of "
            f"{size.chains} chains"
        )
    return model.q.theta, size.chains  # type: ignore[reportAttributeAccessIssue]


def bootstrap_views(model: Mixture, draws: Mapping[str, Tensor]) -> Iterator[View]:
    """The mixture at each estimate of a bootstrap."""
    for i in range(len(next(iter(draws.values())))):
        own = {name.removeprefix("family."): value[i] for name, value in draws.items() if name.startswith("family.")}
        weights = draws["weights"][i] if "weights" in draws else model.weights.detach()
        yield model.family.at(own), weights.log()


def as_posterior_names(draws: Mapping[str, Tensor]) -> Theta:
    """Estimates of a bootstrap by the names of a `BayesianMixture`, with covariances in place of their factors."""
    return {_posterior_name(n): v @ v.mT if n.endswith("scale_tril") else v for n, v in draws.items()}


def _posterior_name(name: str) -> str:
    """The name in a `BayesianMixture`: loc for family.loc, loc_1 for family.parts.1.loc."""
    name = re.sub(r"^parts\.(\d+)\.(.*)$", r"\2_\1", name.removeprefix("family."))
    return name.replace("scale_tril", "covariance").replace(".", "_")


def shared_parameters(family: Family) -> frozenset[str]:
    """The names of parameters that all components share."""
    parts = [(path, part) for path, part in family.named_modules() if isinstance(part, Family)]
    return frozenset(_posterior_name(f"{path}.{name}".lstrip(".")) for path, part in parts for name in part.shared)


@torch.no_grad()
def column_moments(family: Family, log_weights: Tensor) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Mean and standard deviation of each column under the mixture."""
    moments, weights = family.moments(), log_weights.exp()
    mean = weights @ moments.mean
    variance = moments.covariance.diagonal(dim1=-2, dim2=-1) + (moments.mean - mean) ** 2
    return mean, (weights @ variance).sqrt()


@torch.no_grad()
def replicated_tables(views: list[View], n: int) -> Float[Tensor, "s n d"]:
    """A table of n rows drawn from the mixture at each draw of its parameters."""
    found = []
    for family, log_weights in views:
        z = torch.distributions.Categorical(logits=log_weights).sample((n,))
        found.append(family.component(z).sample().to(torch.float64))
    return torch.stack(found)
