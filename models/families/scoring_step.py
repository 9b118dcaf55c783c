"""The M-step for any distribution: a step of scoring, from gradients of log p of each row."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal, transform_to

from .any_distribution import AnyDistribution
from .missing_values import observed_log_prob

LONGEST = 2.0  # the longest step in any unconstrained coordinate
ROWS = 4096  # rows whose scores are held in memory at a time


class ScoringStep(AnyDistribution):
    """One step of scoring (Berndt, Hall, Hall & Hausman 1974) in unconstrained coordinates.

    The score of a row is the gradient of its log p. The step is (sum of r score score')^-1 (sum of r score), for each
    block of parameters by itself. It is short where the likelihood is steep.
    """

    weak_centre: Tensor

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """Scores and their outer products, summed over components: `summarize` is what the M-step uses."""
        return torch.stack([self.summarize(row, row.new_ones(1, self.components)).sum(0) for row in x.split(1)])

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """One step of scoring from the average scores and outer products."""
        self.maximize(mean.new_ones(len(mean)), mean)

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Sums over rows of the scores (k, b, q) of each block of parameters, and of their outer products
        (k, b, q, q)."""
        k, b, q = self.free_blocks().shape
        total = x.new_zeros(k, b * q * (1 + q))
        for rows, share in zip(x.split(ROWS), responsibilities.split(ROWS), strict=True):
            if not len(rows):
                continue  # not all distributions of torch can sum over no rows
            score = self._scores(rows)  # (n, k, b, q)
            first = torch.einsum("nk,nkbq->kbq", share, score)
            second = torch.einsum("nk,nkbq,nkbr->kbqr", share, score, score)
            total = total + torch.cat([first.flatten(1), second.flatten(1)], -1)
        return total

    def complete(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """The sums of the scores of the observed values."""
        return self.summarize(x, responsibilities)

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"], length: float = 1.0) -> None:
        """M-step: one step of scoring, `length` times as long. A component without weight keeps its parameters."""
        before = self.free_blocks()
        k, b, q = before.shape
        score, outer = total.split([b * q, b * q * q], -1)
        score, outer = score.reshape(k, b, q), outer.reshape(k, b, q, q)
        if self.prior is not None:
            score, outer = score + self._prior_score(), outer + torch.eye(q, dtype=outer.dtype, device=outer.device) / k
        if any(map(self.is_frozen, self.names)):  # the step of the others alone
            free = self.as_blocks(
                {n: torch.full_like(self.unconstrained(n), not self.is_frozen(n)) for n in self.names}
            ).bool()
            score = torch.where(free, score, 0.0)
            outer = torch.where(
                free.unsqueeze(-1) & free.unsqueeze(-2), outer, torch.eye(q, dtype=outer.dtype, device=outer.device)
            )
        ridge = 1e-9 * outer.diagonal(dim1=-2, dim2=-1) + 1e-300  # relative to each: they may differ in units
        factor, _ = torch.linalg.cholesky_ex(outer + torch.diag_embed(ridge))
        step = torch.cholesky_solve(score.unsqueeze(-1), factor).squeeze(-1).nan_to_num()
        largest = step.abs().amax(-1, keepdim=True).clamp(min=1e-300)
        # Far from the maximum all rows have much the same score, and the steeper the slope, the shorter is the step of
        # scoring. There the step is made the longest. `agreement` is 1 at most (Cauchy & Schwarz), 0 at the maximum.
        agreement = (score * step).sum(-1, keepdim=True) / weight.clamp(min=1e-300)[:, None, None]
        least = LONGEST * agreement.nan_to_num().clamp(0, 1) ** 2
        step = step * (largest.clamp(min=least, max=torch.full_like(least, LONGEST)) / largest)
        self.set_free_blocks(before + torch.where((weight > 0)[:, None, None], length * step, 0.0))

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """Raises TypeError: scores are gradients at the parameters where they were taken."""
        raise TypeError(
            "the statistics of FamilyOf are gradients at the present parameters, expected sums that can be averaged "
            "over steps: fit it with EM() or SVI()"
        )

    def log_prior(self) -> Float[Tensor, ""]:
        """log p(theta): a density in the parameters; with prior="weak", in their unconstrained coordinates."""
        if isinstance(self.prior, Mapping):
            return torch.stack([p.log_prob(self.value(name)).sum() for name, p in self.prior.items()]).sum()
        if self.prior is None:
            return super().log_prior()
        if torch.isnan(self.weak_centre).any():
            raise ValueError('prior="weak" takes its scale from data, which this model has not seen: fit or seed it')
        away = self.as_blocks({name: self.unconstrained(name) for name in self.names}) - self.weak_centre
        return Normal(0.0, self.components**0.5).log_prob(away).sum()

    def _scores(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k b q"]:
        """The gradient of log p(x | k) of each row in the unconstrained parameters of k."""
        with torch.enable_grad():
            free = {
                name: self.unconstrained(name).detach().expand(len(x), *self.value(name).shape).clone()
                for name in self.names
            }
            for tensor in free.values():
                tensor.requires_grad_()
            transforms = {name: transform_to(self._pyro_params[name][0]) for name in self.names}
            component = self.build({name: transforms[name](tensor) for name, tensor in free.items()})
            log_prob = observed_log_prob(component, x) if x.isnan().any() else component.log_prob(x.unsqueeze(-2))
            gradients = torch.autograd.grad(log_prob.sum(), list(free.values()))
        return self.as_blocks(dict(zip(self.names, gradients, strict=True)))

    def _prior_score(self) -> Float[Tensor, "k b q"]:
        """The gradient of the log prior in the unconstrained parameters."""
        with torch.enable_grad():
            parameters = [self.unconstrained(name) for name in self.names]
            gradients = torch.autograd.grad(self.log_prior(), parameters, allow_unused=True)
        known = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
        return self.as_blocks(dict(zip(self.names, known, strict=True)))
