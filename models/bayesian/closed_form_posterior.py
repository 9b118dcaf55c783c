"""q(weights, theta) in closed form: the mean-field posterior under a conjugate prior."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..contract import Statistics
from ..families.family import Family
from .parameter_sites import Theta, View, Views, draw_sites, sample_sites, sites_log_prob
from .prior_and_posterior import PriorAndPosterior
from .stick_breaking_weights import MixtureWeights


class ClosedFormPosterior:
    """q(weights) q(theta), each of the prior's kind, with all expectations in closed form.

    The hyperparameters belong to `shares` (the weights) and `beliefs` (theta), which are modules of the mixture.
    """

    is_point = False
    is_sampled = False
    has_exact_bound = True

    def __init__(self, shares: MixtureWeights, beliefs: PriorAndPosterior):
        self.shares, self.beliefs = shares, beliefs

    @property
    def is_set(self) -> bool:
        """Whether all hyperparameters have been set."""
        return self.shares.is_set and self.beliefs.is_set

    def start_at(self, theta: Theta) -> None:
        """Do nothing: `start` of the weights and of theta set the hyperparameters already."""

    def views(self) -> list[View]:
        """The one view whose log joint density is E_q[log weights_k + log p(x | theta_k)]."""
        family, correction = self.beliefs.expected()
        return [(family, self.shares.expected_log() + correction)]

    def e_step_view(self) -> View:
        """The family and the log weights that the E-step takes."""
        return self.views()[0]

    def at(self, theta: Theta) -> View:
        """The mixture with these parameters."""
        own = {name: theta[name] for name in self.beliefs.supports()}
        return self.beliefs.family_at(own), self.shares.log_weights(theta)

    def maximize(self, statistics: Statistics) -> None:
        """Hyperparameters = those of the prior + statistics."""
        self.shares.maximize(statistics.weight)
        self.beliefs.maximize(statistics.weight, statistics.total)

    def empty_components(self) -> Bool[Tensor, " k"]:
        """Which components have less than one row."""
        return self.shares.counts() < 1

    def global_term(self) -> Float[Tensor, ""]:
        """-KL(q(weights, theta) || p(weights, theta)) in nats."""
        return -(self.shares.divergence() + self.beliefs.divergence())

    def guide_sites(self) -> Views:
        """Draw the parameters as sites of a Pyro guide. q(z | x) does not depend on the draws: it is mean-field."""
        theta: Theta = {}
        draw_sites(self.shares.posterior(theta), theta, pyro.sample)
        draw_sites(self.beliefs.posterior(theta), theta, pyro.sample)
        return self.views(), torch.Size()

    @torch.no_grad()
    def draw(self, draws: int) -> tuple[Theta, Float[Tensor, " s"]]:
        """Draws of the parameters, with the draw on dim 0, and the log density under q of each."""
        theta: Theta = {}
        sample_sites(self.shares.posterior(theta), theta, draws)
        sample_sites(self.beliefs.posterior(theta), theta, draws)
        log_q = sites_log_prob(self.shares.posterior(theta), theta)
        log_q = log_q + sites_log_prob(self.beliefs.posterior(theta), theta)
        return {"weights": self.shares.log_weights(theta).exp(), **theta}, log_q

    def mean(self) -> tuple[Float[Tensor, " k"], Family]:
        """The mean weights, and the family at the mean of theta."""
        return self.shares.mean(), self.beliefs.family_at(self.beliefs.mean())

    def log_predictive(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """log E_q[p(x | weights, theta)] of each row in nats."""
        return torch.logsumexp(self.beliefs.predictive_log_prob(x) + self.shares.mean().log(), -1)

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """n rows of the posterior predictive distribution, and their components."""
        z = dist.Categorical(self.shares.mean()).sample((n,))
        return self.beliefs.predictive(z).sample(), z

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the components in place."""
        self.shares.permute(order)
        self.beliefs.permute(order)
