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
from .count_checks import COUNTS, invalid_counts
from .exponential_family import ExponentialFamily
from .family import Family, Profile


class Poisson(ExponentialFamily, Conjugate, TakesMissing, SideBySide):
    """Independent counts: p(x | z = k) = product over d of rate[k, d]^x[d] exp(-rate[k, d]) / x[d]!.

    Parameter: `rate` (k, d), the mean count per row. Maximum likelihood may put it at exactly 0.

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        prior: None for maximum likelihood; a `torch.distributions.Gamma` of each rate; or "weak", which adds 1 / k row
            with the mean of the data.

    Raises:
        ValueError: An argument has another value than those above.

    Example:
        >>> import torch
        >>> from lowerbound.models import Poisson
        >>> family = Poisson(components=2, features=1)
        >>> family.match(torch.tensor([[2.0], [5.0]]))
        >>> family.log_prob(torch.zeros(1, 1).double()).detach().numpy().round(6)  # log p(0) = -rate
        array([[-2., -5.]])
    """

    expects = COUNTS
    is_numeric = True
    rate: Tensor
    rate_unconstrained: Tensor

    def __init__(self, components: int, features: int, prior: Prior = None):
        super().__init__()
        require_size(components=components, features=features)
        ones = torch.ones(components, features, dtype=torch.float64)
        self.rate = PyroParam(ones, constraints.nonnegative)  # type: ignore[assignment]
        self.priors = Priors(prior, {"rate": (Gamma, (features,))})

    @property
    def _shape(self) -> tuple[int, int]:
        """k and d, without making a distribution: every pass asks for them."""
        k, d, *_ = self.rate_unconstrained.shape
        return k, d

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): independent Poisson counts."""
        return dist.Poisson(self.rate[z]).to_event(1)

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """T(x) = x."""
        return x

    def match(self, mean: Float[Tensor, "k d"]) -> None:
        """Rates = means."""
        self.set_value("rate", mean)

    def expected_statistics(self) -> Float[Tensor, "k d"]:
        """The rates."""
        return self.rate

    def natural(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """eta = log rate, A = rate, for each column."""
        return self.rate_unconstrained, -self.rate_unconstrained.exp()

    def carrier(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """-log x!, for each column."""
        return -log_factorial(x)

    def pseudo_rows(self) -> tuple[Tensor, Tensor] | None:
        """Gamma(a, b) adds b rows with the sum a - 1."""
        if not self.priors:
            return None
        return self.priors.hyperparameter("rate", "rate"), self.priors.hyperparameter("rate", "concentration") - 1

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Set the weak prior: 1 / k row with the mean of the data."""
        if self.priors.is_weak:
            k = self.components // self.copies
            # a column of zeros has mean 0, for which there is no Gamma density: any positive number will do
            mean = torch.where(data.mean > 0, data.mean, 1.0)
            self.priors["rate"] = Gamma(1 + mean / k, torch.full_like(mean, 1 / k))

    def weak_belief(self, data: Moments) -> dict[str, Distribution]:
        """Gamma(1, 1 / mean of the column): exponential, with that mean."""
        return {"rate": Gamma(torch.ones_like(data.mean), 1 / torch.where(data.mean > 0, data.mean, 1.0))}

    def gain(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> dict[str, dict[str, Tensor]]:
        """To Gamma(a, b): the sum of counts, and the number of rows."""
        return {"rate": {"concentration": total, "rate": weight.unsqueeze(-1).expand_as(total)}}

    def expected(self, beliefs: Mapping[str, Any]) -> tuple[Family, Float[Tensor, " k"]]:
        """The family at rate = exp(E[log rate])."""
        a, b = beliefs["rate"].concentration, beliefs["rate"].rate
        log_rate = torch.digamma(a) - b.log()
        return self.at({"rate_unconstrained": log_rate}), (log_rate.exp() - a / b).sum(-1)

    def predictive(self, beliefs: Mapping[str, Any]) -> Distribution:
        """Negative binomial columns."""
        return dist.GammaPoisson(beliefs["rate"].concentration, beliefs["rate"].rate).to_event(1)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Values that are not counts."""
        return invalid_counts(x)

    def profiles(self) -> list[Profile]:
        """The rates."""
        return [Profile("rate", self.rate.detach(), range(self.features))]
