"""Exponential families: T(x) gives all log densities by one matrix product and all sums by another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..kernels.linear_pass import CompiledLinearPass, identity_pairs
from ..kernels.visit import Summarize, Visit
from .abilities import HasExpectedLogProb
from .conjugate_priors import Priors
from .hooks.density import never_where_overflowed

NEVER = 1e30  # stands for infinity in a coefficient, because 0 * NEVER is 0 and 0 * inf is not a number


class ExponentialFamily(HasExpectedLogProb):
    """log p(x | z = k) = T(x) . eta[k] - A[k] + h(x), with T `statistics`, (eta, -A) `natural` and h `carrier`.

    A family that writes `natural` besides `component`, `statistics` and `match` gets its E-step and M-step as two
    matrix products. `match` is then exact maximum likelihood. If columns are independent, A and h may be given for
    each column; rows with missing values need this.

    Example:
        >>> import torch
        >>> from lowerbound.models import ExponentialFamily, Poisson
        >>> class Fast(Poisson):  # Poisson has all of this already
        ...     def natural(self):
        ...         return self.rate.log(), -self.rate
        ...     def carrier(self, x):
        ...         return -torch.lgamma(x + 1)
        >>> family = Fast(components=1, features=1)
        >>> family.match(torch.tensor([[2.0]]))
        >>> round(family.log_prob(torch.zeros(1, 1).double()).item(), 6)
        -2.0
    """

    priors: Priors

    def __init__(self):
        super().__init__()
        self.priors = Priors(None, {})  # families with priors put theirs in its place

    def natural(self) -> tuple[Float[Tensor, "k s"], Float[Tensor, "k *d"]]:
        """The natural parameters eta (k, s), which may be infinite, and minus the log normalizer A: (k,) or (k, d)."""
        raise NotImplementedError(f"{type(self).__name__} does not write natural(): an ExponentialFamily must")

    def carrier(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n *d"] | float:
        """h(x), the part of log p that depends on the row alone: (n,), or (n, d). By default 0."""
        return 0.0

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(x | z = k) in nats, differentiable in the parameters; -inf where the density is 0."""
        eta, constant = self.natural()
        log_prob = self.statistics(x) @ eta.clamp(-NEVER, NEVER).T + _summed(constant)
        log_prob = torch.where(log_prob < -NEVER / 10, -torch.inf, log_prob)
        h = self.carrier(x)
        return never_where_overflowed(log_prob + (_summed(h).unsqueeze(-1) if isinstance(h, Tensor) else h), x)

    def marginal(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(observed values of x | z = k) in nats: the terms of `log_prob` without those of missing values."""
        eta, constant = self.natural()
        observed = (~x.isnan()).to(x.dtype)
        t = self.statistics(x)
        log_prob = torch.where(t.isnan(), 0.0, t) @ eta.clamp(-NEVER, NEVER).T + observed @ constant.T
        log_prob = torch.where(log_prob < -NEVER / 10, -torch.inf, log_prob)
        h = self.carrier(x)
        return log_prob + (torch.where(x.isnan(), 0.0, h).sum(-1, keepdim=True) if isinstance(h, Tensor) else h)

    def visit(self) -> Visit:
        """One pass over T(x) for densities and sums, compiled where rows are on the CPU."""
        with torch.no_grad():
            eta, constant = self.natural()
            own = LinearPass(self, eta.clamp(-NEVER, NEVER), _summed(constant).unsqueeze(-1))
        return Visit(own.block, compiled=own.linear)

    def expected_log_prob(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, " k"]:
        """total . eta - weight A of each component."""
        eta, constant = self.natural()
        terms = torch.where(total == 0, 0.0, total * eta)  # 0 log 0 = 0
        return terms.sum(-1) + weight * _summed(constant.reshape(len(constant), -1))

    @property
    def has_prior(self) -> bool:
        """Whether some parameter has a prior."""
        return bool(self.priors)

    def log_prior(self) -> Float[Tensor, "*copies"]:
        """log p(theta) under the prior, a density in the parameters; 0 without one."""
        terms = self.priors.log_prob(**{name: self.value(name) for name in self.priors.names})
        return super().log_prior() + sum(map(self.sum_per_copy, terms))


@dataclass(frozen=True)
class LinearPass:
    """The pass of components with natural parameters eta (k, s) and minus log normalizers `constant` (k, 1)."""

    family: ExponentialFamily
    eta: Float[Tensor, "k s"]
    constant: Float[Tensor, "k 1"]

    def block(self, x: Tensor) -> tuple[Tensor, Summarize]:
        """In torch, as `Visit.block`."""
        t = self.family.statistics(x)
        log_prob = torch.addmm(self.constant, self.eta, t.T)  # (k, n): reductions over k run along memory
        if (self.eta.abs() == NEVER).any():
            log_prob[log_prob < -NEVER / 10] = -torch.inf
        return log_prob.add_(self.carrier(x)).T, lambda r: r.T @ t

    def carrier(self, x: Tensor) -> Tensor:
        """h(x): (n,) or (); NaN if some value is `unsupported`."""
        return _summed(torch.as_tensor(self.family.carrier(x), dtype=x.dtype)) + self.family.nan_if_unsupported(x)

    def linear(self) -> CompiledLinearPass:
        """The compiled pass, on the numbers T(x)."""
        s, coefficients = self.eta.shape[1], torch.cat([self.constant, self.eta], -1)
        return CompiledLinearPass(
            self.eta.new_zeros(s), identity_pairs(s), coefficients, _without_weight,
            numbers=self.family.statistics, carrier=self.carrier,
        )  # fmt: skip


def _without_weight(total: Tensor, common: Tensor) -> Tensor:
    return total[:, 1:]


def _summed(part: Tensor) -> Tensor:
    """The sum over columns, if there is a number for each column."""
    return part.sum(-1) if part.ndim == 2 else part
