"""Exponential components: independent waiting times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import AffineTransform, Distribution, Gamma, constraints

from ...data.moments import Moments
from ..module import require_size
from .abilities import Conjugate, SideBySide, TakesMissing
from .conjugate_priors import Prior, Priors
from .exponential_family import ExponentialFamily
from .family import Family, Profile

ZERO = 1e-100  # mean over the average component's, below which a component has only rows of zeros


class Exponential(ExponentialFamily, Conjugate, TakesMissing, SideBySide):
    """Independent waiting times: p(x | z = k) = product over d of rate[k, d] exp(-rate[k, d] x[d]), x[d] >= 0.

    Parameter: `rate` (k, d), the inverse of the mean, in 1 / units of the column.

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        prior: None for maximum likelihood; a `torch.distributions.Gamma` of each rate; or "weak", which adds 1 / k row
            with the mean of the data.

    Raises:
        ValueError: An argument has another value than those above.

    Example:
        >>> import torch
        >>> from lowerbound.models import Exponential
        >>> family = Exponential(components=1, features=1)
        >>> family.match(torch.tensor([[2.0]]))  # the mean
        >>> family.rate.item(), family.log_prob(torch.zeros(1, 1).double()).exp().item()
        (0.5, 0.5)
    """

    expects = "numbers of at least 0"
    is_numeric = True
    rate: Tensor
    rate_unconstrained: Tensor

    def __init__(self, components: int, features: int, prior: Prior = None):
        super().__init__()
        require_size(components=components, features=features)
        ones = torch.ones(components, features, dtype=torch.float64)
        self.rate = PyroParam(ones, constraints.positive)  # type: ignore[assignment]
        self.priors = Priors(prior, {"rate": (Gamma, (features,))})

    @property
    def _shape(self) -> tuple[int, int]:
        """k and d, without making a distribution: every pass asks for them."""
        k, d, *_ = self.rate_unconstrained.shape
        return k, d

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): independent exponential waiting times."""
        return dist.Exponential(self.rate[z]).to_event(1)

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """T(x) = x."""
        return x

    def match(self, mean: Float[Tensor, "k d"]) -> None:
        """Rates = 1 / means."""
        self.set_value("rate", 1 / mean.clamp(min=1e-300))

    def expected_statistics(self) -> Float[Tensor, "k d"]:
        """The means."""
        return 1 / self.rate

    def natural(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """eta = -rate, A = -log rate, for each column."""
        return -self.rate_unconstrained.exp(), self.rate_unconstrained

    def pseudo_rows(self) -> tuple[Tensor, Tensor] | None:
        """Gamma(a, b) adds a - 1 rows with the sum b."""
        if not self.priors:
            return None
        return self.priors.hyperparameter("rate", "concentration") - 1, self.priors.hyperparameter("rate", "rate")

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Set the weak prior: 1 / k row with the mean of the data. Raises ValueError for a column of zeros."""
        if (data.mean <= 0).any():
            column = data.column(int((data.mean <= 0).nonzero()[0]))
            raise ValueError(f"{column} is 0 in every row, expected some positive number: drop the column")
        if self.priors.is_weak:
            k = self.components // self.copies
            self.priors["rate"] = Gamma(torch.full_like(data.mean, 1 + 1 / k), data.mean / k)

    def shrunk(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, "k d"]:
        """(k, d) the columns in which a component has only zeros: its likelihood is unbounded."""
        mean = (1 / self.rate.detach()).unflatten(0, (self.copies, -1))
        average = weights.reshape(self.copies, 1, -1) @ mean
        return (mean < ZERO * average).flatten(0, 1)

    def weak_belief(self, data: Moments) -> dict[str, Distribution]:
        """Gamma(1, mean of the column)."""
        return {"rate": Gamma(torch.ones_like(data.mean), data.mean)}

    def gain(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> dict[str, dict[str, Tensor]]:
        """To Gamma(a, b): the number of rows, and their sum."""
        return {"rate": {"concentration": weight.unsqueeze(-1).expand_as(total), "rate": total}}

    def expected(self, beliefs: Mapping[str, Any]) -> tuple[Family, Float[Tensor, " k"]]:
        """The family at rate = E[rate]."""
        a, b = beliefs["rate"].concentration, beliefs["rate"].rate
        return self.at({"rate": a / b}), (torch.digamma(a) - a.log()).sum(-1)

    def predictive(self, beliefs: Mapping[str, Any]) -> Distribution:
        """Lomax columns, of density a b^a / (b + x)^(a + 1)."""
        a, b = beliefs["rate"].concentration, beliefs["rate"].rate
        return dist.TransformedDistribution(dist.Pareto(b, a), AffineTransform(-b, 1.0)).to_event(1)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"]:
        """Negative values."""
        return x < 0

    def profiles(self) -> list[Profile]:
        """The means, 1 / rate."""
        return [Profile("mean", 1 / self.rate.detach(), range(self.features))]
