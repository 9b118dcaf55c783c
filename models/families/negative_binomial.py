"""Negative binomial components: independent counts that vary more than Poisson's."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, Gamma, constraints

from ..kernels.special_functions import digamma_deficit, log1p_deficit, log_factorial, log_gamma_ratio
from ..module import require_size
from .abilities import AllowsFrozen, TakesMissing
from .conjugate_priors import Prior, Priors
from .family import Profile
from .gamma import WEAK_RATE
from .whole_numbers import COUNTS, not_counts

LEAST = 1e-8  # smallest concentration
POISSON = 1e8  # largest concentration, times a mean above 1: the variance is then the mean to 1e-8
NOISE = 1e-14  # slopes in nats below which there is nothing but rounding


class NegativeBinomial(AllowsFrozen, TakesMissing):
    """Independent overdispersed counts: x[d] | z = k ~ NegativeBinomial, variance = mean + mean^2 / concentration.

    Parameters: `mean` (k, d) and `concentration` (k, d), R's mu and size: Poisson counts whose rate is drawn from
    Gamma(concentration, concentration / mean). Counts that vary less than Poisson's send the concentration to its
    largest value, 1e8 (times the mean above 1), where they are Poisson. prior: None, "weak" (Gamma(1, 0.01)) or a
    `Gamma` on the concentration.

    The M-step is exact for the mean. The concentration takes a Newton step on log p itself. Where that goes too far, it
    maximizes a bound from below that touches the expected log-likelihood at the parameters as they stand,
    log(c + j) >= c0 / (c0 + j) log c + constant: EM with the tables of a Chinese restaurant as a second latent variable
    (Zhou & Carin, IEEE TPAMI 37 (2015), 307-320), which never lowers the bound but is slow towards Poisson.
    """

    expects = COUNTS
    generalized = True
    location_parameter = "mean"
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
        return self._cells(x).sum(-1) - log_factorial(x).sum(-1, keepdim=True)

    def marginal(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(seen cells | z = k) in nats."""
        filled = x.nan_to_num(nan=0.0)
        cells = torch.where(x.isnan().unsqueeze(-2), 0.0, self._cells(filled))
        return cells.sum(-1) - log_factorial(filled).sum(-1, keepdim=True)

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Sums of x, of x less the expected number of tables, sum of j / (c + j) over j < x, and of what that loses
        when log c grows, sum of c j / (c + j)^2; at the concentrations c as they stand; and of ones. Over the cells
        that are seen."""
        ones, x = (~x.isnan()).to(x.dtype), x.nan_to_num(nan=0.0)  # of a count of 0 the others are 0
        c, y = self.concentration.detach(), x.unsqueeze(-2)
        deficit = digamma_deficit(c, y)
        loss = y - deficit + c**2 * (torch.polygamma(1, c + y) - torch.polygamma(1, c))
        sums = [torch.einsum("nk,nkd->kd", responsibilities, cell) for cell in (deficit, loss)]
        return torch.cat([responsibilities.T @ x, *sums, responsibilities.T @ ones], -1)

    def complete(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """The sums over the cells that are seen: each column has a weight of its own."""
        return self.summarize(x, responsibilities)

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """Means and concentrations from the averages of `summarize`."""
        self.maximize(mean.new_ones(len(mean)), mean)

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"], length: float = 1.0) -> None:
        """M-step: a Newton step, or if that was too long (length below 1) the step of EM, which never is. A component
        without weight keeps its parameters."""
        *sums, weight = total.chunk(4, -1)  # weight (k, d): of the cells that are seen
        own, weight = weight > 0, weight.clamp(min=1e-300)
        average, deficit, loss = (torch.where(own, part / weight, 0.0) for part in sums)
        mean = self.mean.detach() if self.is_frozen("mean") else average
        before, most = self.concentration.detach(), POISSON * mean.clamp(min=1)
        if self.is_frozen("concentration"):
            self.mean = torch.where(own, mean, self.mean.detach())
            return
        over = average - mean
        prior = mean.new_zeros(2, 1, 1)
        if self.priors:  # shape - 1 and rate, for each row
            hyper = [self.priors.hyper("concentration", name) for name in ("concentration", "rate")]
            prior = torch.stack([(hyper[0] - 1) / weight, hyper[1] / weight])
        if length == 1:
            first, second = _slopes(before, mean, over, deficit, *prior)
            step = torch.where(second + loss < 0, -first / (second + loss), first.sign())
            step = torch.where(first.abs() < NOISE * (1 + mean), 0.0, step)
            new = before * step.nan_to_num().clamp(-2.0, 2.0).exp()
        else:
            new = before
            for _ in range(100):
                first, second = _slopes(new, mean, over, deficit, *prior)
                step = (-first / second.clamp(max=-1e-300)).clamp(-2.0, 2.0)
                new = torch.minimum((new * step.exp()).clamp(min=LEAST), most)
                if ((new == most) | (step.abs() < 1e-13)).all():
                    break
        self.mean = torch.where(own, mean, self.mean.detach())
        self.concentration = torch.where(own, torch.minimum(new.clamp(min=LEAST), most), before)

    def start(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> None:
        """First parameters, by moments."""
        some = responsibilities.sum(0) > 0  # a component without rows starts as all together
        share = torch.where(some, responsibilities, responsibilities.sum(1, keepdim=True))
        share = share / share.sum(0)
        mean = share.T @ x
        excess = (share.T @ x**2 - mean**2 - mean).clamp(min=1e-3 * mean)
        self.mean = mean
        self.concentration = torch.where(mean > 0, mean**2 / excess.clamp(min=1e-300), 1.0).clamp(1e-3, POISSON)

    def log_prior(self) -> Float[Tensor, ""]:
        """log p(concentration) under the prior: 0 without one."""
        return super().log_prior() + sum(map(self.sum_per_copy, self.priors.log_prob(concentration=self.concentration)))

    def _cells(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k d"]:
        """log p of each cell but for -log x!."""
        m, c, y = self.mean, self.concentration, x.unsqueeze(-2)
        some = torch.where(m > 0, m, 1.0)  # a mean of 0 has no gradient, and gives nothing but zeros
        ones = torch.where((m > 0) | (y == 0), y * (some / (c + some)).log(), -torch.inf)
        return log_gamma_ratio(c, y) + ones - c * torch.log1p(m / c)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """What is not a count."""
        return not_counts(x)

    def profiles(self) -> list[Profile]:
        """Means and concentrations."""
        columns = range(self.features)
        return [
            Profile("mean", self.mean.detach(), columns),
            Profile("concentration", self.concentration.detach(), columns),
        ]


def _slopes(
    c: Tensor, mean: Tensor, over: Tensor, deficit: Tensor, pull: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor]:
    """The first two derivatives in log c, per row, of EM's bound: m - c log(1 + m / c) - deficit + pull - slope c, and
    over m / (c + m), with `over` what the rows have in the mean above a frozen m."""
    u = mean / c
    short, share = log1p_deficit(u), u / (1 + u)
    first = c * short - deficit + pull - slope * c + over * share
    return first, c * (short - share * u) - slope * c - over * share / (1 + u)
