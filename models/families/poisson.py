"""Poisson components: independent counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, Gamma, constraints

from ...data.moments import Moments
from ..kernels.special_functions import log_factorial
from ..module import require_size
from .abilities import Conjugate, SideBySide, TakesMissing
from .conjugate_priors import Prior, Priors
from .exponential_family import ExponentialFamily
from .family import Family, Profile
from .whole_numbers import COUNTS, not_counts


class Poisson(ExponentialFamily, Conjugate, TakesMissing, SideBySide):
    """Independent counts: x[d] | z = k ~ Poisson(rate[k, d]).

    Parameter: `rate` (k, d), counts per row. prior: None, "weak" (a k-th of a row, spread as the data) or a `Gamma` of
    each rate.
    """

    expects = COUNTS
    rate: Tensor
    rate_unconstrained: Tensor

    def __init__(self, components: int, features: int, prior: Prior = None):
        super().__init__()
        require_size(components=components, features=features)
        ones = torch.ones(components, features, dtype=torch.float64)
        self.rate = PyroParam(ones, constraints.nonnegative)  # type: ignore[assignment]
        self.priors = Priors(prior, {"rate": (Gamma, (features,))})

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): independent Poisson counts."""
        return dist.Poisson(self.rate[z]).to_event(1)

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """T(x) = x."""
        return x

    def match(self, mean: Float[Tensor, "k d"]) -> None:
        """Rates to means."""
        self.rate = mean

    def expected_statistics(self) -> Float[Tensor, "k d"]:
        """The rates."""
        return self.rate

    def natural(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """eta = log rate, A = rate, for each column."""
        return self.rate_unconstrained, -self.rate

    def carrier(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """-log x!, for each column."""
        return -log_factorial(x)

    def pseudo_rows(self) -> tuple[Tensor, Tensor] | None:
        """Of Gamma(a, b): b rows of total a - 1."""
        if not self.priors:
            return None
        return self.priors.hyper("rate", "rate"), self.priors.hyper("rate", "concentration") - 1

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """The weak prior: 1 / k rows that hold the mean of the data."""
        if self.priors.is_weak:
            k = self.components // self.copies
            # a column of zeros: a prior of mean 0 has no density, and any small one will do
            mean = torch.where(data.mean > 0, data.mean, 1.0)
            self.priors["rate"] = Gamma(1 + mean / k, torch.full_like(mean, 1 / k))

    def weak_belief(self, data: Moments) -> dict[str, Distribution]:
        """Gamma(1, 1 / mean of the column): exponential, with that mean."""
        return {"rate": Gamma(torch.ones_like(data.mean), 1 / torch.where(data.mean > 0, data.mean, 1.0))}

    def gain(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> dict[str, dict[str, Tensor]]:
        """Of Gamma(a, b): the counts, and the rows."""
        return {"rate": {"concentration": total, "rate": weight.unsqueeze(-1).expand_as(total)}}

    def expected(self, beliefs: Mapping[str, Any]) -> tuple[Family, Float[Tensor, " k"]]:
        """At the rate exp(E[log rate])."""
        a, b = beliefs["rate"].concentration, beliefs["rate"].rate
        log_rate = torch.digamma(a) - b.log()
        return self.at({"rate_unconstrained": log_rate}), (log_rate.exp() - a / b).sum(-1)

    def predictive(self, beliefs: Mapping[str, Any]) -> Distribution:
        """Negative binomial columns."""
        return dist.GammaPoisson(beliefs["rate"].concentration, beliefs["rate"].rate).to_event(1)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """What is not a count."""
        return not_counts(x)

    def profiles(self) -> list[Profile]:
        """The rates."""
        return [Profile("rate", self.rate.detach(), range(self.features))]
