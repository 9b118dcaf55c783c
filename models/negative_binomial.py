"""Negative binomial components: independent counts that vary more than Poisson's."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from .conjugate import Gamma, Prior, Priors
from .family import Family, Profile, require_size
from .gamma import WEAK_RATE
from .poisson import COUNTS
from .special import digamma_deficit, log1p_deficit, log_factorial, log_gamma_ratio

POISSON = 1e8  # largest concentration: from here on the counts are Poisson to 1e-8


class NegativeBinomial(Family):
    """Independent overdispersed counts: x[d] | z = k ~ NegativeBinomial, variance = mean + mean^2 / concentration.

    Parameters: `mean` (k, d) and `concentration` (k, d), R's mu and size: Poisson counts whose rate is drawn from
    Gamma(concentration, concentration / mean). Counts that vary less than Poisson's send the concentration to its
    largest value, 1e8, where they are Poisson. prior: None, "weak" (Gamma(1, 0.01)) or a `Gamma` on the concentration.

    The M-step is exact for the mean. For the concentration it maximizes a bound from below that touches the expected
    log-likelihood at the parameters as they stand, log(c + j) >= c0 / (c0 + j) log c + constant: the number of tables
    of a Chinese restaurant as a second latent variable (Zhou & Carin, IEEE TPAMI 37 (2015), 307-320).
    """

    expects = COUNTS
    mean: Tensor
    concentration: Tensor

    def __init__(self, components: int, features: int, prior: Prior = None):
        super().__init__()
        require_size(components=components, features=features)
        ones = torch.ones(components, features, dtype=torch.float64)
        self.mean = PyroParam(ones, constraints.nonnegative)  # type: ignore[assignment]
        self.concentration = PyroParam(ones.clone(), constraints.positive)  # type: ignore[assignment]
        self.priors = Priors(prior, {"concentration": (Gamma, (features,))})
        if self.priors.is_weak:
            self.priors["concentration"] = Gamma(1.0, WEAK_RATE)

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): independent negative binomial counts."""
        odds = (self.mean / self.concentration).clamp(min=1e-300).log()
        return dist.NegativeBinomial(self.concentration[z], logits=odds[z]).to_event(1)

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(x | z = k) in nats, which keeps its digits where the counts are all but Poisson."""
        m, c, y = self.mean, self.concentration, x.unsqueeze(-2)
        ones = torch.xlogy(y, m / (c + m))
        return (log_gamma_ratio(c, y) + ones - c * torch.log1p(m / c)).sum(-1) - log_factorial(x).sum(-1, keepdim=True)

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Sums of x, and of x less the expected number of tables, at the concentrations as they stand."""
        deficit = digamma_deficit(self.concentration.detach(), x.unsqueeze(-2))
        return torch.cat([responsibilities.T @ x, torch.einsum("nk,nkd->kd", responsibilities, deficit)], -1)

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """Means and concentrations from the averages of `summarize`."""
        self._solve(torch.ones(len(mean), 1, dtype=mean.dtype), mean)

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"], length: float = 1.0) -> None:
        """M-step; a component without weight keeps its parameters."""
        own = (weight > 0).unsqueeze(-1)
        before = self.mean.detach(), self.concentration.detach()
        stand_in = total[weight > 0].sum(0), weight.sum()
        self._solve(torch.where(own, weight.unsqueeze(-1), stand_in[1]), torch.where(own, total, stand_in[0]))
        self.mean = torch.where(own, self.mean.detach(), before[0])
        self.concentration = torch.where(own, self.concentration.detach(), before[1])

    def start(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> None:
        """First parameters, by moments."""
        weight = responsibilities.sum(0).unsqueeze(-1)
        mean = responsibilities.T @ x / weight
        excess = (responsibilities.T @ x**2 / weight - mean**2 - mean).clamp(min=1e-3 * mean)
        self.mean = mean
        self.concentration = torch.where(mean > 0, mean**2 / excess.clamp(min=1e-300), 1.0).clamp(1e-3, POISSON)

    def log_prior(self) -> Float[Tensor, ""]:
        """log p(concentration) under the prior: 0 without one."""
        return self.priors.log_prob(concentration=self.concentration)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"]:
        """What is not a count."""
        return (x < 0) | (x != x.floor())

    def profiles(self) -> list[Profile]:
        """Means and concentrations."""
        columns = range(self.features)
        return [
            Profile("mean", self.mean.detach(), columns),
            Profile("concentration", self.concentration.detach(), columns),
        ]

    def _solve(self, weight: Float[Tensor, "k 1"], total: Float[Tensor, "k s"]) -> None:
        """The root c of m - c log(1 + m / c) = deficit - pull + slope c, whose left side falls from m to 0."""
        mean, deficit = (total / weight).chunk(2, -1)
        pull = slope = torch.zeros_like(weight)
        if self.priors:
            pull = (self.priors.hyper("concentration", "concentration") - 1) / weight
            slope = self.priors.hyper("concentration", "rate") / weight
        c = self.concentration.detach()
        for _ in range(100):
            u = mean / c
            excess = c * log1p_deficit(u) - deficit + pull - slope * c
            descent = c * (u / (1 + u) * u - log1p_deficit(u)) + slope * c  # minus the derivative in log c
            step = (excess / descent.clamp(min=1e-300)).clamp(-2.0, 2.0)
            c = (c * step.exp()).clamp(1e-8, POISSON)
            if float(step.abs().max()) < 1e-14 or bool(((c == POISSON) | (step.abs() < 1e-13)).all()):
                break
        self.mean = mean
        self.concentration = torch.where(mean > 0, c, self.concentration.detach())
