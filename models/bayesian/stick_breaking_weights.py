"""Mixture weights with a truncated Dirichlet process, by stick breaking, as their prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints

from ..kernels.special_functions import log_gamma_ratio
from ..module import Recorded
from .dirichlet_weights import DirichletWeights
from .kl_divergences import divergence
from .parameter_sites import Sites, Theta


class StickBreakingWeights(Recorded):
    """weight[i] = stick[i] * prod_{j < i} (1 - stick[j]), stick[i] ~ Beta(1, prior_concentration), the last stick = 1:
    a Dirichlet process truncated at k components.

    Each component takes a share, its stick, of the weight that the components before it left. The prior prefers large
    components first, so components have their own order: component j is number `place[j]` (k,) in it. Site:
    `sticks` (k - 1,), in that order. Hyperparameters of q, if the model is conjugate: `taken` and `left` (k - 1,), of
    Beta distributions. Blei & Jordan, Bayesian Analysis 1 (2006), 121-144.
    """

    place: Tensor
    taken: Tensor
    left: Tensor
    exchangeable = False  # whether the prior is the same for every order of the components

    def __init__(self, components: int, concentration: float, conjugate: bool = True):
        super().__init__()
        self._k, self.prior_concentration, self.conjugate = components, float(concentration), conjugate
        self.register_buffer("place", torch.arange(components))
        if conjugate:
            ones = torch.ones(components - 1, dtype=torch.float64)
            self.taken = PyroParam(ones, constraints.positive)  # type: ignore[assignment]
            self.left = PyroParam(ones.clone(), constraints.positive)  # type: ignore[assignment]

    def prior(self, theta: Theta) -> Sites:
        """The site and its prior distribution."""
        ones = torch.ones(self._k - 1, dtype=torch.float64)
        yield "sticks", dist.Beta(ones, self.prior_concentration * ones).to_event(1)

    def posterior(self, theta: Theta) -> Sites:
        """The site and its distribution under q."""
        yield "sticks", dist.Beta(self.taken, self.left, validate_args=False).to_event(1)

    def supports(self) -> dict[str, tuple[Any, torch.Size]]:
        """The constraint and the shape of the site: shares between 0 and 1."""
        return {"sticks": (constraints.unit_interval, torch.Size([self._k - 1]))}

    def log_weights(self, theta: Theta) -> Float[Tensor, "*s k"]:
        """The log weights at theta, by component."""
        return self._joined(theta["sticks"].log(), torch.log1p(-theta["sticks"]))

    def start(self, counts: Float[Tensor, " k"]) -> Theta:
        """Order the components by size and start q, if there is one; the mean of the posterior."""
        self.place = counts.argsort(descending=True, stable=True).argsort()
        taken, left = self._given(counts, self.place)
        if self.conjugate:
            self.maximize(counts)
        return {"sticks": taken / (taken + left)}

    def expected_log(self) -> Float[Tensor, " k"]:
        """E_q[log weights]."""
        both = torch.digamma(self.taken + self.left)
        return self._joined(torch.digamma(self.taken) - both, torch.digamma(self.left) - both)

    def mean(self) -> Float[Tensor, " k"]:
        """E_q[weights]: products of means, because sticks are independent under q."""
        share = self.taken / (self.taken + self.left)
        return self._joined(share.log(), torch.log1p(-share)).exp()

    def maximize(self, counts: Float[Tensor, " k"]) -> None:
        """Set q to the posterior given the number of rows of each component.

        The order of the components is the better of two for the bound: the present one, and that by size.
        """
        counts = counts.clamp(min=0)
        orders = [self.place, counts.argsort(descending=True, stable=True).argsort()]
        given = [self._given(counts, place) for place in orders]
        best = max(range(2), key=lambda i: float(_log_evidence(*given[i])))
        self.place = orders[best]
        self.taken, self.left = given[best]

    def mode(self, counts: Float[Tensor, " k"]) -> Theta:
        """The sticks that maximize sum_k counts[k] log weights[k] + log prior.

        Raises ArithmeticError if there is no maximum inside the simplex.
        """
        taken, left = self._given(counts, self.place)
        if (left < 1).any() or (taken + left <= 2).any():
            raise ArithmeticError(
                f"the last sticks would leave the simplex under a concentration of {self.prior_concentration:g} and "
                f"{counts.tolist()} rows: take a concentration of at least 1, fewer components, or a posterior over "
                "the weights"
            )
        return {"sticks": (taken - 1) / (taken + left - 2)}

    def divergence(self) -> Float[Tensor, ""]:
        """KL(q || p) in nats."""
        prior = torch.distributions.Beta(
            torch.ones_like(self.taken), torch.full_like(self.left, self.prior_concentration)
        )
        return divergence(torch.distributions.Beta(self.taken, self.left, validate_args=False), prior).sum()

    def relabel(self, theta: Theta, order: Tensor) -> Theta:
        """The weights by new labels. The sticks stay: they follow the order of sizes, not the labels."""
        return {"weights": self.log_weights(theta).exp()[order], "sticks": theta["sticks"]}

    def stick_positions(self, theta: Theta) -> Int[Tensor, " k"]:
        """The position of each relabelled component in the stick-breaking order, whose sticks give its weight."""
        place = torch.empty_like(self.place)
        place[theta["weights"].argsort()] = self.place[self.log_weights(theta).argsort()]
        return place

    def sticks_for(self, weights: Float[Tensor, " k"]) -> Theta:
        """The sticks that give these weights, as a value of theta."""
        ordered = weights[self.place.argsort()]
        after = ordered.flip(0).cumsum(0).flip(0)
        return {"sticks": (ordered / after)[:-1].nan_to_num(nan=0.5)}

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the components in place."""
        self.place = self.place[order]

    # inside

    def _joined(self, log_taken: Tensor, log_left: Tensor) -> Float[Tensor, "*s k"]:
        """Log weights by component, from the log shares that each stick takes and leaves."""
        zero = log_taken.new_zeros(*log_taken.shape[:-1], 1)
        before = torch.cat([zero, log_left.cumsum(-1)], -1)
        return (torch.cat([log_taken, zero], -1) + before)[..., self.place]

    def _given(self, counts: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """`taken` and `left` of the posterior, given the number of rows of each component and its position."""
        ordered = counts[place.argsort()]
        after = ordered.flip(0).cumsum(0).flip(0)[1:]
        return 1 + ordered[:-1], self.prior_concentration + after


def _log_evidence(taken: Tensor, left: Tensor) -> Tensor:
    """log p(z) up to a constant, the weights integrated out: their part of the bound after an M-step."""
    return (torch.lgamma(taken) - log_gamma_ratio(left, taken)).sum()


MixtureWeights = DirichletWeights | StickBreakingWeights
