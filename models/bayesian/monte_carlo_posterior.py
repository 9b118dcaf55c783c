"""The base class of a q(weights, theta) whose expectations are means over draws."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..families.family import Family
from ..families.missing_values import log_prob_of_rows
from .parameter_sites import View
from .prior_and_posterior import PriorAndPosterior
from .stick_breaking_weights import MixtureWeights

EMPTY_WEIGHT = 0.01  # a component of a smaller weight counts as empty, where no expected number of rows is known


class MonteCarloPosterior(torch.nn.Module):
    """q(weights, theta) with expectations that are means over draws of the parameters.

    Not a PyroModule, because a Pyro guide may be inside, which must have its own context.
    """

    shares: MixtureWeights
    beliefs: PriorAndPosterior
    is_point = False
    is_sampled = False

    def __init__(self, shares: MixtureWeights, beliefs: PriorAndPosterior):
        super().__init__()
        vars(self).update(shares=shares, beliefs=beliefs)  # not as modules inside: they are the mixture's

    def views(self) -> list[View]:
        """The mixture at each draw that expectations are taken over."""
        raise NotImplementedError

    def mean(self) -> tuple[Float[Tensor, " k"], Family]:
        """Weights and family at the centre of q."""
        raise NotImplementedError

    def e_step_view(self) -> View:
        """Raise TypeError: an E-step needs expectations in closed form."""
        raise TypeError(
            "EM() needs expectations in closed form, which only the conjugate posterior and AutoDelta have: fit this "
            "guide by SVI()"
        )

    def empty_components(self) -> Bool[Tensor, " k"]:
        """Which components have almost no weight."""
        return self.mean()[0] < EMPTY_WEIGHT

    def log_predictive(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The log of the mean over draws of p(x | weights, theta), of each row in nats."""
        each = [torch.logsumexp(log_prob_of_rows(family, x) + weights, -1) for family, weights in self.views()]
        return torch.logsumexp(torch.stack(each), 0) - math.log(len(each))

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """n rows, each from the mixture at a random draw, and their components."""
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
