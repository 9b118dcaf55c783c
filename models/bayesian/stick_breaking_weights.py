"""Mixture weights with a truncated Dirichlet process as their prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints, kl_divergence

from ..module import Recorded
from .parameter_sites import Sites, Theta


class StickBreakingWeights(Recorded):
    """A Dirichlet process cut off at k components: weight j is the share sticks[j] ~ Beta(1, prior_concentration) of
    what those before it have left, and the last takes the rest (Blei & Jordan, Bayesian Analysis 1 (2006), 121-144).

    Hyperparameters of q, if there is one: `taken` and `left` (k - 1,), of Beta posteriors. Sites: `sticks` (k - 1,), of
    places: component j has place `place[j]` (k,). The largest components come first, which costs the fewest nats,
    wherever the bound agrees.
    """

    place: Tensor
    taken: Tensor
    left: Tensor
    exchangeable = False

    def __init__(self, components: int, concentration: float, conjugate: bool = True):
        super().__init__()
        self._k, self.prior_concentration, self.conjugate = components, float(concentration), conjugate
        self.register_buffer("place", torch.arange(components))
        if conjugate:
            ones = torch.ones(components - 1, dtype=torch.float64)
            self.taken = PyroParam(ones, constraints.positive)  # type: ignore[assignment]
            self.left = PyroParam(ones.clone(), constraints.positive)  # type: ignore[assignment]

    def prior(self, theta: Theta) -> Sites:
        """The site and its prior."""
        ones = torch.ones(self._k - 1, dtype=torch.float64)
        yield "sticks", dist.Beta(ones, self.prior_concentration * ones).to_event(1)

    def posterior(self, theta: Theta) -> Sites:
        """The site and its posterior."""
        yield "sticks", dist.Beta(self.taken, self.left, validate_args=False).to_event(1)

    def supports(self) -> dict[str, tuple[Any, torch.Size]]:
        """Shares between 0 and 1."""
        return {"sticks": (constraints.unit_interval, torch.Size([self._k - 1]))}

    def log_weights(self, theta: Theta) -> Float[Tensor, "*s k"]:
        """log weights at theta."""
        return self._joined(theta["sticks"].log(), torch.log1p(-theta["sticks"]))

    def start(self, counts: Float[Tensor, " k"]) -> Theta:
        """The posterior mean given these counts."""
        self.place = counts.argsort(descending=True, stable=True).argsort()
        taken, left = self._given(counts, self.place)
        if self.conjugate:
            self.maximize(counts)
        return {"sticks": taken / (taken + left)}

    def expected_log(self) -> Float[Tensor, " k"]:
        """E_q[log weights]."""
        whole = torch.digamma(self.taken + self.left)
        return self._joined(torch.digamma(self.taken) - whole, torch.digamma(self.left) - whole)

    def mean(self) -> Float[Tensor, " k"]:
        """E_q[weights]: sticks are independent."""
        share = self.taken / (self.taken + self.left)
        return self._joined(share.log(), torch.log1p(-share)).exp()

    def maximize(self, counts: Float[Tensor, " k"]) -> None:
        """The posterior given rows of each component, in the order of places that has the higher bound: as it was, or
        by size."""
        counts = counts.clamp(min=0)
        places = [self.place, counts.argsort(descending=True, stable=True).argsort()]
        given = [self._given(counts, place) for place in places]
        best = max(range(2), key=lambda i: float(_log_evidence(*given[i])))
        self.place = places[best]
        self.taken, self.left = given[best]

    def mode(self, counts: Float[Tensor, " k"]) -> Theta:
        """The maximum of sum counts log weights + log prior. Raises ArithmeticError if it is not inside."""
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
        return kl_divergence(torch.distributions.Beta(self.taken, self.left, validate_args=False), prior).sum()

    def relabel(self, theta: Theta, order: Tensor) -> Theta:
        """The weights, and the same sticks: those of places."""
        return {"weights": self.log_weights(theta).exp()[order], "sticks": theta["sticks"]}

    def stick_positions(self, theta: Theta) -> Int[Tensor, " k"]:
        """The place of each component of relabelled weights: that whose sticks give its weight."""
        place = torch.empty_like(self.place)
        place[theta["weights"].argsort()] = self.place[self.log_weights(theta).argsort()]
        return place

    def sticks_for(self, weights: Float[Tensor, " k"]) -> Theta:
        """The sticks that give these weights."""
        ordered = weights[self.place.argsort()]
        after = ordered.flip(0).cumsum(0).flip(0)
        return {"sticks": (ordered / after)[:-1].nan_to_num(nan=0.5)}

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel in place."""
        self.place = self.place[order]

    # inside

    def _joined(self, log_taken: Tensor, log_left: Tensor) -> Float[Tensor, "*s k"]:
        """What each place takes and leaves to log weights of the components."""
        zero = log_taken.new_zeros(*log_taken.shape[:-1], 1)
        before = torch.cat([zero, log_left.cumsum(-1)], -1)
        return (torch.cat([log_taken, zero], -1) + before)[..., self.place]

    def _given(self, counts: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        ordered = counts[place.argsort()]
        after = ordered.flip(0).cumsum(0).flip(0)[1:]
        return 1 + ordered[:-1], self.prior_concentration + after


def _log_evidence(taken: Tensor, left: Tensor) -> Tensor:
    """log p(z) of the counts, but for a constant: what the bound has of the weights after its best step."""
    return (torch.lgamma(taken) + torch.lgamma(left) - torch.lgamma(taken + left)).sum()
