"""Negative binomial components: independent counts that vary more than Poisson's."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, Gamma, constraints

from ...data.traced_rows import plain_rows
from ..kernels.negative_binomial_density import LARGE_COUNT, log_prob_of_large_counts
from ..kernels.special_functions import NOISE, expected_tables, log1p_deficit, log_factorial, log_gamma_ratio
from ..module import require_size
from .abilities import AllowsFrozen, TakesMissing
from .conjugate_priors import Prior, Priors
from .count_checks import COUNTS, invalid_counts
from .family import Profile
from .gamma import WEAK_RATE
from .hooks.density import never_where_overflowed

LEAST = 1e-8  # smallest concentration
POISSON = 1e8  # largest concentration, times a mean above 1: the variance is then the mean to 1e-8


class NegativeBinomial(AllowsFrozen, TakesMissing):
    """Independent counts that vary more than Poisson counts: variance = mean + mean^2 / concentration.

    p(x | z = k) = product over d of Gamma(c + x) / (Gamma(c) x!) (c / (c + m))^c (m / (c + m))^x, where x is x[d], m is
    `mean[k, d]` and c is `concentration[k, d]` (mu and size in R). These are Poisson counts whose rate is drawn from
    Gamma(c, c / m).

    Parameters: `mean` (k, d), counts per row, and `concentration` (k, d), without unit. If counts vary less than
    Poisson counts, the concentration goes to its largest value, 1e8 (times the mean, if that is above 1). The counts
    are then Poisson.

    The M-step is exact for the mean. The concentration takes a Newton step on log p itself. If this step lowers the
    bound, it maximizes instead a lower bound that touches the expected log-likelihood at the present parameters c0:
    log(c + j) >= c0 / (c0 + j) log c + constant. This is EM with a second latent variable, the number of tables in a
    Chinese restaurant process (Zhou & Carin, IEEE TPAMI 37 (2015), 307-320). It never lowers the bound, but is slow
    where the counts are almost Poisson.

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        prior: The prior of the concentration: None for maximum likelihood; a `torch.distributions.Gamma`; or "weak":
            Gamma(1, 0.01).

    Raises:
        ValueError: An argument has another value than those above.

    Example:
        >>> import torch
        >>> from lowerbound.models import NegativeBinomial
        >>> family = NegativeBinomial(components=1, features=1)
        >>> family.mean, family.concentration = torch.tensor([[3.0]]), torch.tensor([[1.0]])
        >>> round(family.log_prob(torch.zeros(1, 1).double()).exp().item(), 6)  # c / (c + m), a geometric distribution
        0.25
    """

    expects = COUNTS
    is_numeric = True
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
        """log p(x | z = k) in nats, exact to rounding also where the counts are almost Poisson."""
        return never_where_overflowed(self._log_prob_parts(x).sum(-1), x)

    def marginal(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(observed values | z = k) in nats."""
        y = x.nan_to_num(nan=0.0)
        return torch.where(x.isnan().unsqueeze(-2), 0.0, self._log_prob_parts(y)).sum(-1)

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Five sums over observed values, at the present concentrations c: of x; of x minus the expected number of
        tables, which is the sum of j / (c + j) over j < x; of minus its derivative in log c, the sum of
        c j / (c + j)^2; of the expected number of tables, which has the digits where it is much below x; of ones."""
        ones, x = (~x.isnan()).to(x.dtype), x.nan_to_num(nan=0.0)  # for a count of 0 the other sums are 0
        c, y = self.concentration.detach(), x.unsqueeze(-2)
        tables, deficit = expected_tables(c, y)
        loss = tables + c**2 * (torch.polygamma(1, c + y) - torch.polygamma(1, c))
        sums = [torch.einsum("nk,nkd->kd", responsibilities, part) for part in (deficit, loss, tables)]
        return torch.cat([responsibilities.T @ x, *sums, responsibilities.T @ ones], -1)

    def complete(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """The sums over the observed values. Each column has its own sum of ones."""
        return self.summarize(x, responsibilities)

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """Means and concentrations from the averages of `summarize`."""
        self.maximize(mean.new_ones(len(mean)), mean)

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"], length: float = 1.0) -> None:
        """M-step: a Newton step, or, if it lowered the bound (length below 1), the step of EM. A component without
        weight keeps its parameters."""
        *sums, weight = total.chunk(5, -1)  # weight (k, d): that of the observed values
        has_rows, weight = weight > 0, weight.clamp(min=1e-300)
        average, deficit, loss, tables = (torch.where(has_rows, part / weight, 0.0) for part in sums)
        mean = self.mean.detach() if self.is_frozen("mean") else average
        before, most = self.concentration.detach(), POISSON * mean.clamp(min=1)
        if self.is_frozen("concentration"):
            self.mean = torch.where(has_rows, mean, self.mean.detach())
            return
        over = average - mean
        prior = mean.new_zeros(2, 1, 1)
        if self.priors:  # shape - 1 and rate, for each row
            hyper = [self.priors.hyperparameter("concentration", name) for name in ("concentration", "rate")]
            prior = torch.stack([(hyper[0] - 1) / weight, hyper[1] / weight])
        if length == 1:
            first, second = _slopes(before, mean, over, deficit, tables, *prior)
            step = torch.where(second + loss < 0, -first / (second + loss), first.sign())
            step = torch.where(first.abs() < NOISE * (1 + torch.minimum(mean, tables)), 0.0, step)
            new = before * step.nan_to_num().clamp(-2.0, 2.0).exp()
        else:
            new = before
            for _ in range(100):
                first, second = _slopes(new, mean, over, deficit, tables, *prior)
                step = (-first / second.clamp(max=-1e-300)).clamp(-2.0, 2.0)
                new = torch.minimum((new * step.exp()).clamp(min=LEAST), most)
                if ((new == most) | (step.abs() < 1e-13)).all():
                    break
        self.mean = torch.where(has_rows, mean, self.mean.detach())
        self.concentration = torch.where(has_rows, torch.minimum(new.clamp(min=LEAST), most), before)

    def start(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> None:
        """First parameters: those with the mean and variance of the rows of each component."""
        has_rows = responsibilities.sum(0) > 0  # a component without rows starts from all of them
        share = torch.where(has_rows, responsibilities, responsibilities.sum(1, keepdim=True))
        share = share / share.sum(0)
        mean = share.T @ x
        excess = (share.T @ x**2 - mean**2 - mean).clamp(min=1e-3 * mean)
        self.mean = mean
        self.concentration = torch.where(mean > 0, mean**2 / excess.clamp(min=1e-300), 1.0).clamp(1e-3, POISSON)

    @property
    def has_prior(self) -> bool:
        """Whether the concentrations have a prior."""
        return bool(self.priors)

    def log_prior(self) -> Float[Tensor, ""]:
        """log p(concentration) under the prior; 0 without one."""
        return super().log_prior() + sum(map(self.sum_per_copy, self.priors.log_prob(concentration=self.concentration)))

    def _log_prob_parts(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k d"]:
        """log p of each value."""
        m, c, y = self.mean, self.concentration, x.unsqueeze(-2)
        positive = torch.where(m > 0, m, 1.0)  # a mean of 0 has no gradient, and gives only zeros
        power = torch.where((m > 0) | (y == 0), y * (positive / (c + positive)).log(), -torch.inf)
        parts = log_gamma_ratio(c, y) + power - c * torch.log1p(m / c) - log_factorial(x).unsqueeze(-2)
        large = (y > LARGE_COUNT) & (m > 0)
        if not plain_rows(large).any():
            return parts
        return torch.where(large, log_prob_of_large_counts(torch.where(large, y, LARGE_COUNT), positive, c), parts)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Values that are not counts."""
        return invalid_counts(x)

    def profiles(self) -> list[Profile]:
        """Means and concentrations."""
        columns = range(self.features)
        return [
            Profile("mean", self.mean.detach(), columns),
            Profile("concentration", self.concentration.detach(), columns),
        ]


def _slopes(
    c: Tensor, mean: Tensor, over: Tensor, deficit: Tensor, tables: Tensor, pull: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor]:
    """The first two derivatives in log c, per row, of EM's lower bound.

    The first is tables - c log(1 + m / c) + pull - slope c + over m / (c + m). For large c / m, the two first terms
    are almost m, and each is taken as what it lacks to it: with `deficit` = m - tables. `pull` and `slope` come from
    the prior. `over` is the mean of the rows minus m, which is not 0 if m is frozen.
    """
    u = mean / c
    short, log, share = log1p_deficit(u), torch.log1p(u), u / (1 + u)
    # a frozen mean is not that of the rows: tables = average - deficit
    first = torch.where(short < log, c * short - deficit + over, tables - c * log)
    bend = torch.where(u < 1, short - share * u, share - log)
    return first + pull - slope * c + over * (share - 1), c * bend - slope * c - over * share / (1 + u)
