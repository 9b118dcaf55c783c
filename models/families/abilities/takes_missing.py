"""Ability: rows with missing values (NaN), integrated out."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...kernels.visit import Summarize
from ..family import Family
from ..hooks.density import not_written
from ..missing_values import observed_log_prob


class TakesMissing(Family):
    """A family that gives the density of the observed values of a row, and the expected statistics of the others.

    With independent columns a family writes `expected_statistics` alone: the defaults do the rest. With dependent
    columns it writes `visit_missing`, `moments_given` and `draw_missing`. The likelihood is that of the observed
    values, which is valid if values are missing at random (Dempster, Laird & Rubin 1977).

    Example:
        >>> import torch
        >>> from lowerbound.models import Poisson, TakesMissing
        >>> family = Poisson(components=1, features=2)
        >>> isinstance(family, TakesMissing) and family.takes_missing  # the class brings the hooks, the flag decides
        True
        >>> family.marginal(torch.tensor([[0.0, torch.nan]]).double()).item()  # log p(x[0] = 0) = -rate
        -1.0
    """

    takes_missing = True

    def expected_statistics(self) -> Float[Tensor, "k s"]:
        """E[T(x) | z = k] at the present parameters: the inverse of `match`."""
        raise not_written(self, "expected_statistics", "for rows with missing values")

    def marginal(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(observed values of x | z = k) in nats, differentiable in the parameters."""
        return observed_log_prob(self.component(), x)

    def complete(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Sums of E[T(x) | observed values, z = k] over rows, at the present parameters. By default an entry of T(x)
        that reads a missing value is replaced by its `expected_statistics`."""
        t = self.statistics(x)
        missing = t.isnan()
        observed = responsibilities.T @ torch.where(missing, 0.0, t)
        return observed + (responsibilities.T @ missing.to(t.dtype)) * self.expected_statistics().detach()

    def visit_missing(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Summarize]:
        """`marginal`, and a function from responsibilities (n, k) to the sums of `complete` (k, s). One hook for both,
        so that they can share work."""
        return self.marginal(x), lambda responsibilities: self.complete(x, responsibilities)

    def moments_given(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k d"]]:
        """Mean and variance of each value given the observed values of its row and z = k. An observed value is its own
        mean, with variance 0."""
        moments, missing = self.moments(), x.isnan().unsqueeze(1)
        variance = moments.covariance.diagonal(dim1=-2, dim2=-1)
        return torch.where(missing, moments.mean, x.unsqueeze(1)), torch.where(missing, variance, 0.0)

    def draw_missing(self, x: Float[Tensor, "n d"], z: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """x with its missing values drawn from their distribution given the observed values and z."""
        return torch.where(x.isnan(), self.component(z).sample().to(x.dtype), x)
