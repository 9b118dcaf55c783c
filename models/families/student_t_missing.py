"""Student-t components on rows with missing values: densities, sums and draws given the observed values."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..kernels.visit import Summarize
from .family import Family
from .gaussian import Gaussian
from .student_t_scales import scale_sums, t_log_prob


class StudentTMissing(Family):
    """The hooks of `TakesMissing`, by those of the Gaussian inside."""

    dof: Tensor
    normal: Gaussian

    def visit_missing(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Summarize]:
        """log t(observed values), and the sums of `summarize` in expectation given the observed values. Conditional
        covariances are divided by u, so that they count r, not r u."""
        given, offset = self.normal.given(x), self.normal.loc_from_origin().detach()

        def pack(responsibilities: Tensor) -> Tensor:
            scaled, own = scale_sums(self.dof, given.squared, given.observed, responsibilities)
            return torch.cat([given.expected_sums(offset, scaled, responsibilities), own], -1)

        return t_log_prob(self.dof, given.log_det, given.squared, given.observed), pack

    def moments_given(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k d"]]:
        """Mean and variance of each value given the observed values of its row and z = k.

        They are those of a t distribution with dof + m degrees of freedom, with m the number of observed values: the
        variance is infinite for dof + m <= 2, and the mean is NaN for dof + m <= 1.
        """
        mean, variance = self.normal.moments_given(x)
        given = self.normal.given(x)
        dof = self.dof.detach() + given.observed
        factor = torch.where(dof > 2, (self.dof.detach() + given.squared) / (dof - 2).clamp(min=1e-300), torch.inf)
        mean = torch.where((dof > 1).unsqueeze(-1) | ~x.isnan().unsqueeze(1), mean, torch.nan)
        return mean, torch.where(variance > 0, variance * factor.unsqueeze(-1), 0.0)

    def draw_missing(self, x: Float[Tensor, "n d"], z: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """x with its missing values drawn: first u given the observed values, then a Gaussian."""
        given = self.normal.given(x)
        dof, row = self.dof.detach()[z], torch.arange(len(x), device=x.device)
        u = dist.Gamma((dof + given.observed.squeeze(1)) / 2, (dof + given.squared[row, z]) / 2).sample()
        return self.normal.draw_missing(x, z, u.rsqrt())
