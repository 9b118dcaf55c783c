"""What the forms of a distribution q over the parameters of a mixture have in common, if they go by draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..families.family import Family
from ..families.missing_values import log_prob_of_rows as log_prob
from .beliefs import Beliefs, Theta
from .weight_beliefs import DirichletWeights, StickWeights

EMPTY = 0.01  # the weight of a component below which it counts as empty, where rows are not counted

View = tuple[Family, Float[Tensor, " k"]]  # a family and log weights: one mixture, or what stands for all of them


@dataclass(frozen=True)
class PosteriorDraws:
    """As the guide of a `BayesianMixture`: draws of its parameters, such as those of `NUTS`, which fill it.

    chains, draws: how many chains, and draws of each.
    """

    chains: int
    draws: int


class ByDraws(torch.nn.Module):
    """What has expectations only by draws of theta. No PyroModule: a guide inside has a context of its own."""

    shares: DirichletWeights | StickWeights
    beliefs: Beliefs
    is_point = False
    is_sampled = False

    def __init__(self, shares: DirichletWeights | StickWeights, beliefs: Beliefs):
        super().__init__()
        vars(self).update(shares=shares, beliefs=beliefs)  # they are the mixture's

    def views(self) -> list[View]:
        """One mixture for each draw."""
        raise NotImplementedError

    def view(self) -> View:
        """Raises TypeError: it takes many."""
        raise TypeError(
            "EM() needs the conjugate posterior or an AutoDelta, of which it has all expectations: fit this guide "
            "by SVI()"
        )

    def empty(self) -> Bool[Tensor, " k"]:
        """Which components have next to no weight."""
        return self.mean()[0] < EMPTY  # type: ignore[attr-defined]

    def log_predictive(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """log of the mean over draws of p(x | theta), of each row."""
        each = [torch.logsumexp(log_prob(family, x) + weights, -1) for family, weights in self.views()]
        return torch.logsumexp(torch.stack(each), 0) - math.log(len(each))

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """n rows, each from the mixture of some draw, and the components they come from."""
        views = self.views()
        counts = torch.multinomial(torch.ones(len(views)), n, replacement=True).bincount(minlength=len(views))
        rows, labels = [], []
        for (family, weights), size in zip(views, counts.tolist(), strict=True):
            if size:
                z = dist.Categorical(logits=weights).sample((size,))
                rows.append(family.component(z).sample())
                labels.append(z)
        order = torch.randperm(n)
        return torch.cat(rows)[order], torch.cat(labels)[order]


def stacked(found: list[Theta]) -> Theta:
    """Several values of theta as one, with draws on dim 0."""
    return {name: torch.stack([theta[name] for theta in found]) for name in found[0]}


def inside(form: Any, shape: torch.Size) -> Tensor:
    """Some value that the constraint allows."""
    to = torch.distributions.biject_to(form)
    return to(torch.zeros(to.inverse_shape(shape), dtype=torch.float64))
