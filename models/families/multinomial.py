"""Multinomial components: rows of counts over the same categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Dirichlet, Distribution

from ...data.moments import Moments
from ..kernels.special_functions import log_factorial
from ..module import require_size
from .abilities import Conjugate, SideBySide
from .conjugate_priors import Prior, Priors
from .exponential_family import ExponentialFamily
from .family import Family, Profile
from .probability_constraints import Simplexes, log_simplexes
from .whole_numbers import COUNTS, not_counts


class Multinomial(ExponentialFamily, Conjugate, SideBySide):
    """Counts over d categories, given their sum: x | z = k, sum(x) = n ~ Multinomial(n, probs[k]).

    Parameter: `probs` (k, d). The sum of a row is not modelled and may differ from row to row; rows that are drawn, and
    `moments`, have the sum `trials`, by default the average of the data rounded. prior: None, "weak" (a k-th of a count
    in all, spread evenly) or a `Dirichlet`.
    """

    expects = COUNTS
    probs: Tensor
    probs_unconstrained: Tensor
    trials: Tensor
    mask: Tensor

    def __init__(self, components: int, features: int, trials: int | None = None, prior: Prior = None):
        super().__init__()
        require_size(components=components, features=features, trials=1 if trials is None else trials)
        if features < 2:
            raise ValueError("features is 1, expected at least 2 categories: given its sum, a single count is certain")
        mask = torch.ones(1, features, dtype=torch.bool)
        self.shared = frozenset({"trials", "mask"})
        self.learns_trials = trials is None
        self.register_buffer("trials", torch.tensor(trials or 1))
        self.register_buffer("mask", mask, persistent=False)
        even = torch.full((components, features), 1 / features, dtype=torch.float64)
        self.probs = PyroParam(even, Simplexes(mask[0]))  # type: ignore[assignment]
        self.priors = Priors(prior, {"probs": (Dirichlet, (features,))})
        if self.priors.is_weak:
            self.priors["probs"] = Dirichlet(1 + even[0] / components)

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): counts of `trials` draws; the log probability is right for any sum."""
        probs = self._log_probs()[z].exp()
        return dist.Multinomial(int(self.trials), probs, validate_args=False)

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """T(x) = x."""
        return x

    def match(self, mean: Float[Tensor, "k d"]) -> None:
        """Probabilities to shares of all counts; a component that has none keeps its own."""
        whole = mean.sum(-1, keepdim=True)
        self.probs = torch.where(whole > 0, mean / whole.clamp(min=1e-300), self.probs.detach())

    def natural(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
        """eta = log probs, A = 0."""
        eta = self._log_probs()
        return eta, eta.new_zeros(len(eta))

    def carrier(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The log of the number of orders the counts may have come in."""
        return log_factorial(x.sum(-1)) - log_factorial(x).sum(-1)

    def pseudo_rows(self) -> tuple[Tensor, Tensor] | None:
        """Of a Dirichlet: its concentrations less 1; the weight does not matter."""
        if not self.priors:
            return None
        total = self.priors.hyper("probs", "concentration") - 1
        return torch.ones_like(total), total

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """The average sum of a row, for drawing."""
        if self.learns_trials:
            self.trials = data.mean.sum().round().clamp(min=1).long()

    def weak_belief(self, data: Moments) -> dict[str, Distribution]:
        """Dirichlet(1, ..., 1): uniform."""
        return {"probs": Dirichlet(torch.ones_like(data.mean))}

    def gain(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> dict[str, dict[str, Tensor]]:
        """Of a Dirichlet: how often each category came."""
        return {"probs": {"concentration": total}}

    def expected(self, beliefs: Mapping[str, Any]) -> tuple[Family, Float[Tensor, " k"]]:
        """At eta = E[log probs], which are not quite the logarithms of probabilities: they sum to less than 1."""
        alpha = beliefs["probs"].concentration
        logs = torch.digamma(alpha) - torch.digamma(alpha.sum(-1, keepdim=True))
        view = self.at({"probs_unconstrained": logs})
        vars(view)["natural"] = lambda: (logs, logs.new_zeros(len(logs)))
        return view, logs.new_zeros(len(logs))

    def predictive(self, beliefs: Mapping[str, Any]) -> Distribution:
        """Dirichlet-multinomial rows."""
        return dist.DirichletMultinomial(beliefs["probs"].concentration, int(self.trials), validate_args=False)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """What is not a count."""
        return not_counts(x)

    def moments(self) -> Moments:
        """Means n p and covariances n (diag(p) - p p') of `trials` counts."""
        p, n = self.probs.detach(), self.trials
        return Moments(n * p, n * (torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)))

    def profiles(self) -> list[Profile]:
        """The share of each category."""
        return [Profile("share", self.probs.detach(), range(self.features))]

    def _log_probs(self) -> Float[Tensor, "k d"]:
        return log_simplexes(self.probs_unconstrained, self.mask[0])
