"""A distribution q over the parameters of a mixture in closed form."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..contract import Statistics
from ..families.family import Family
from .dirichlet_weights import DirichletWeights
from .parameter_sites import Theta, View, draw_sites, sample_sites, sites_log_prob
from .prior_and_posterior import PriorAndPosterior
from .stick_breaking_weights import StickBreakingWeights


class ClosedFormPosterior:
    """q(theta) of the prior's kind, with all expectations in closed form."""

    is_point = False
    is_sampled = False
    has_exact_bound = True

    def __init__(self, shares: DirichletWeights | StickBreakingWeights, beliefs: PriorAndPosterior):
        self.shares, self.beliefs = shares, beliefs

    @property
    def is_set(self) -> bool:
        """Whether there is a posterior."""
        return self.shares.is_set and self.beliefs.is_set

    def start_at(self, theta: Theta) -> None:
        """Nothing: the beliefs have begun where theta is the mean."""

    def views(self) -> list[View]:
        """The family with the expected natural parameters; E[log weights], less what E[log p(x | k)] is below it."""
        family, short = self.beliefs.expected()
        return [(family, self.shares.expected_log() + short)]

    def e_step_view(self) -> View:
        """What the E-step of EM takes for the mixture."""
        return self.views()[0]

    def at(self, theta: Theta) -> View:
        """The mixture at these values of the sites."""
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
        """-KL(q(theta) || p(theta))."""
        return -(self.shares.divergence() + self.beliefs.divergence())

    def guide_sites(self) -> View:
        """The statements of a Pyro guide, and what z depends on then: not on the values that are drawn."""
        theta: Theta = {}
        draw_sites(self.shares.posterior(theta), theta, pyro.sample)
        draw_sites(self.beliefs.posterior(theta), theta, pyro.sample)
        return self.views()[0]

    @torch.no_grad()
    def draw(self, draws: int) -> tuple[Theta, Float[Tensor, " s"]]:
        """Draws of theta, (s, ...) of each site, and their log density under q."""
        theta: Theta = {}
        sample_sites(self.shares.posterior(theta), theta, draws)
        sample_sites(self.beliefs.posterior(theta), theta, draws)
        log_q = sites_log_prob(self.shares.posterior(theta), theta) + sites_log_prob(
            self.beliefs.posterior(theta), theta
        )
        return {"weights": self.shares.log_weights(theta).exp(), **theta}, log_q

    def mean(self) -> tuple[Float[Tensor, " k"], Family]:
        """The mean weights, and the family at the mean of theta."""
        return self.shares.mean(), self.beliefs.family_at(self.beliefs.mean())

    def log_predictive(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """log E_q[p(x | theta)] of each row, in closed form."""
        return torch.logsumexp(self.beliefs.predictive_log_prob(x) + self.shares.mean().log(), -1)

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """n rows of the posterior predictive distribution, and the components they come from."""
        z = dist.Categorical(self.shares.mean()).sample((n,))
        return self.beliefs.predictive(z).sample(), z

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the components."""
        self.shares.permute(order)
        self.beliefs.permute(order)
