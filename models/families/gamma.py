"""Gamma components: independent positive columns."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from ...data.moments import Moments
from ..kernels.special_functions import (
    gamma_shape,
    inverse_digamma,
    log1p_deficit,
    log_gamma_deficit,
    log_minus_digamma,
    ratio_deficit,
)
from ..module import require_size
from .abilities import AllowsFrozen, SideBySide, TakesMissing
from .conjugate_priors import Prior, Priors
from .exponential_family import ExponentialFamily

SMALLEST = 1e-280  # mean of a component, so that its rate is a number
SHARPEST = 1e14  # largest concentration: a standard deviation of a ten-millionth of the mean
WEAK_RATE = 0.01  # of the weak prior of the concentration, Exponential(0.01): mean 100, at no cost below it


class Gamma(ExponentialFamily, AllowsFrozen, TakesMissing, SideBySide):
    """Independent positive columns: p(x | z = k) = product over d of b^a x^(a - 1) exp(-b x) / Gamma(a).

    Here x is x[d], a is `concentration[k, d]` and b is `rate[k, d]`. The mean is a / b, and the standard deviation is
    mean / sqrt(a).

    Parameters: `concentration` (k, d), without unit, and `rate` (k, d), in 1 / units of the column.

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        prior: None for maximum likelihood; `torch.distributions.Gamma`s by parameter, {"concentration": ..., "rate":
            ...}, or one of them; or "weak": Gamma(1, 0.01) on the concentration, which keeps a component from shrinking
            onto a few rows.

    Raises:
        ValueError: An argument has another value than those above.

    Example:
        >>> import torch
        >>> from lowerbound.models import Gamma
        >>> family = Gamma(components=1, features=1)
        >>> family.concentration, family.rate = torch.tensor([[2.0]]), torch.tensor([[0.5]])
        >>> family.moments().mean.item(), round(family.log_prob(torch.tensor([[4.0]]).double()).item(), 3)
        (4.0, -2.0)
    """

    expects = "positive numbers"
    is_numeric = True
    concentration: Tensor
    rate: Tensor
    unit: Tensor

    def __init__(self, components: int, features: int, prior: Prior = None):
        super().__init__()
        require_size(components=components, features=features)
        ones = torch.ones(components, features, dtype=torch.float64)
        self.concentration = PyroParam(ones, constraints.positive)  # type: ignore[assignment]
        self.rate = PyroParam(ones.clone(), constraints.positive)  # type: ignore[assignment]
        kinds = {name: (torch.distributions.Gamma, (features,)) for name in ("concentration", "rate")}
        if prior == "weak":
            prior = {"concentration": torch.distributions.Gamma(1.0, WEAK_RATE)}
        self.priors = Priors(prior, kinds)  # type: ignore[arg-type]
        self.shared = frozenset({"unit"})
        self.register_buffer("unit", torch.ones(features, dtype=torch.float64))  # what the columns are measured in

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): independent gamma columns."""
        return dist.Gamma(self.concentration[z], self.rate[z]).to_event(1)

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """T(x) = (u, u - log(1 + u)) with u = x / unit - 1, which keeps its digits where x hardly varies."""
        return torch.cat([x / self.unit - 1, ratio_deficit(x, self.unit)], -1)

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """The parameters with E[T(x)] = mean."""
        self._set_from_sums(mean.new_ones(len(mean), 1), mean)

    def expected_statistics(self) -> Float[Tensor, "k s"]:
        """E[u] = mean / unit - 1, and E[u - log(1 + u)], to which log(mean) - E[log x] = log a - digamma(a) adds."""
        a = self.concentration
        mean = a / self.rate
        return torch.cat([mean / self.unit - 1, ratio_deficit(mean, self.unit) + log_minus_digamma(a)], -1)

    def natural(self) -> tuple[Float[Tensor, "k s"], Float[Tensor, "k d"]]:
        """eta = (-1 - a excess, 1 - a), where rate = (1 + excess) a / unit."""
        a = self.concentration
        excess = self.rate * self.unit / a - 1
        constant = log_gamma_deficit(a) - a * log1p_deficit(excess) - self.unit.log()
        return torch.cat([-1 - a * excess, 1 - a], -1), constant

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"], length: float = 1.0) -> None:
        """M-step: one equation for the concentration, from which the rate follows."""
        if not self.priors:
            return super().maximize(weight, total)
        own = (weight > 0).unsqueeze(-1)
        before = self.concentration.detach(), self.rate.detach()
        stand_in = total[weight > 0].sum(0), weight.sum()
        self._set_from_sums(torch.where(own, weight.unsqueeze(-1), stand_in[1]), torch.where(own, total, stand_in[0]))
        self.concentration = torch.where(own, self.concentration.detach(), before[0])
        self.rate = torch.where(own, self.rate.detach(), before[1])

    def shrunk(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, "k d"]:
        """(k, d) the columns in which a component has shrunk onto one value: its likelihood is unbounded."""
        return self.concentration.detach() >= 0.99 * SHARPEST  # not quite: it comes back through a logarithm

    @property
    def least_rows(self) -> int:
        """2 without a prior: the likelihood of one row has no upper bound."""
        return 0 if self.has_prior else 2

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"]:
        """Values that are not positive."""
        return x <= 0

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Measure columns in their means. Raises ValueError for a constant column without a prior."""
        constant = data.covariance.diagonal() <= (1e-14 * data.mean) ** 2
        if constant.any() and "concentration" not in self.priors:
            raise ValueError(
                f"{data.column(int(constant.nonzero()[0]))} has the same value in every row, expected some variance: "
                'drop the column, or give prior="weak"'
            )
        self.unit = data.mean.clone()

    def _set_from_sums(self, weight: Float[Tensor, "k 1"], total: Float[Tensor, "k s"]) -> None:
        """Maximum of the expected log-likelihood plus the log prior.

        For a given concentration a the best rate is (a weight + s) / (sum + r), with a prior Gamma(s + 1, r) on the
        rate. That leaves one equation in a. If the rate b is frozen, the equation is digamma(a) = log b + mean of
        log x, plus terms of the prior.
        """
        first, deficit = (total / weight).chunk(2, -1)
        zero = torch.zeros_like(weight)
        shape_of_a, rate_of_a = self._hyper("concentration", zero)
        shape_of_b, rate_of_b = self._hyper("rate", zero)
        above = first + rate_of_b / weight / self.unit
        # the mean in units: not below the geometric mean, as rounding takes it where all rows are far below the unit
        relative = torch.where(first < -0.9, torch.maximum(1 + above, (first - deficit).exp()), 1 + above)
        a = self.concentration.detach()
        if not self.is_frozen("concentration"):
            if self.is_frozen("rate"):
                logs = (self.rate.detach() * self.unit).log() + first - deficit
                a = inverse_digamma(logs - rate_of_a / weight, shape_of_a / weight)
            else:
                near = first >= -0.9
                own = torch.where(near, log1p_deficit(torch.where(near, above, 0.0)), above - relative.log())
                gap = deficit - own + (above - first)
                a = gamma_shape(gap, rate_of_a / weight, shape_of_a / weight, shape_of_b / weight)
            a = a.clamp(1e-8, SHARPEST)
            self.concentration = a
        if not self.is_frozen("rate"):
            self.rate = (a + shape_of_b / weight) / (relative * self.unit).clamp(min=SMALLEST)

    def _hyper(self, name: str, zero: Tensor) -> tuple[Tensor, Tensor]:
        """Concentration - 1 and rate of the prior of a parameter; 0 and 0 without one."""
        if name not in self.priors:
            return zero, zero
        return self.priors.hyperparameter(name, "concentration") - 1, self.priors.hyperparameter(name, "rate")
