"""Exponential families: one look at T(x) gives all log densities by one matrix product and all sums by another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..kernels.linear_pass import Linear, columns
from ..kernels.visit import Summarize, Visit
from .abilities import HasExpectedLogProb
from .conjugate_priors import Priors

NEVER = 1e30  # stands for infinity in a coefficient, because 0 * NEVER is 0 and 0 * inf is not a number


class ExponentialFamily(HasExpectedLogProb):
    """log p(x | k) = T(x) . eta[k] - A[k] + h(x), with T `statistics`, (eta, -A) `natural` and h `carrier`.

    Where columns are independent, A and h may be given for each column, which rows with missing cells need.

    A family that writes `natural` besides `component`, `statistics` and `match` has its E-step and M-step as two
    matrix products. `match` is then exact maximum likelihood.
    """

    priors: Priors

    def __init__(self):
        super().__init__()
        self.priors = Priors(None, {})  # families with priors put theirs in its place

    def natural(self) -> tuple[Float[Tensor, "k s"], Float[Tensor, "k *d"]]:
        """The natural parameters eta, which may be infinite, and minus the log normalizer A: (k,), or (k, d)."""
        raise NotImplementedError(f"{type(self).__name__} does not write natural(): an ExponentialFamily must")

    def carrier(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n *d"] | float:
        """h(x): what depends on the row alone: (n,), or (n, d)."""
        return 0.0

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(x | z = k) in nats, differentiable in the parameters; -inf for what a member cannot give."""
        eta, constant = self.natural()
        log_prob = self.statistics(x) @ eta.clamp(-NEVER, NEVER).T + _summed(constant)
        log_prob = torch.where(log_prob < -NEVER / 10, -torch.inf, log_prob)
        h = self.carrier(x)
        return log_prob + (_summed(h).unsqueeze(-1) if isinstance(h, Tensor) else h)

    def marginal(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(seen cells of x | z = k) in nats: the sums of `log_prob` without the missing columns."""
        eta, constant = self.natural()
        seen = (~x.isnan()).to(x.dtype)
        t = self.statistics(x)
        log_prob = torch.where(t.isnan(), 0.0, t) @ eta.clamp(-NEVER, NEVER).T + seen @ constant.T
        log_prob = torch.where(log_prob < -NEVER / 10, -torch.inf, log_prob)
        h = self.carrier(x)
        return log_prob + (torch.where(x.isnan(), 0.0, h).sum(-1, keepdim=True) if isinstance(h, Tensor) else h)

    def visit(self) -> Visit:
        """One look at T(x) for both, compiled where rows are on the CPU."""
        with torch.no_grad():
            eta, constant = self.natural()
            own = LinearPass(self, eta.clamp(-NEVER, NEVER), _summed(constant).unsqueeze(-1))
        return Visit(own.block, compiled=own.linear)

    def expected_log_prob(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, " k"]:
        """total . eta - weight A of each member."""
        eta, constant = self.natural()
        terms = torch.where(total == 0, 0.0, total * eta)  # 0 log 0 = 0
        return terms.sum(-1) + weight * _summed(constant.reshape(len(constant), -1))

    def log_prior(self) -> Float[Tensor, "*copies"]:
        """log p(theta) under the prior: a density in the parameters; 0 without one."""
        terms = self.priors.log_prob(**{name: getattr(self, name) for name in self.priors.names})
        return super().log_prior() + sum(map(self.sum_per_copy, terms))


@dataclass(frozen=True)
class LinearPass:
    """Rows to their log densities under members of natural parameters eta (k, s) and minus log normalizers (k, 1)."""

    family: ExponentialFamily
    eta: Float[Tensor, "k s"]
    constant: Float[Tensor, "k 1"]

    def block(self, x: Tensor) -> tuple[Tensor, Summarize]:
        """By torch, as `Visit.block`."""
        t = self.family.statistics(x)
        log_prob = torch.addmm(self.constant, self.eta, t.T)  # (k, n): reductions over k run along memory
        if (self.eta.abs() == NEVER).any():
            log_prob[log_prob < -NEVER / 10] = -torch.inf
        return log_prob.add_(self.carrier(x)).T, lambda r: r.T @ t

    def carrier(self, x: Tensor) -> Tensor:
        """h(x): (n,) or (); NaN if some cell is `unsupported`."""
        return _summed(torch.as_tensor(self.family.carrier(x), dtype=x.dtype)) + self.family.nan_if_unsupported(x)

    def linear(self) -> Linear:
        """Compiled: T(x) are the numbers."""
        s, coefficients = self.eta.shape[1], torch.cat([self.constant, self.eta], -1)
        return Linear(
            self.eta.new_zeros(s), columns(s), coefficients, _without_weight,
            numbers=self.family.statistics, carrier=self.carrier,
        )  # fmt: skip


def _without_weight(total: Tensor, common: Tensor) -> Tensor:
    return total[:, 1:]


def _summed(part: Tensor) -> Tensor:
    """Over the columns, where it is given for each of them."""
    return part.sum(-1) if part.ndim == 2 else part
