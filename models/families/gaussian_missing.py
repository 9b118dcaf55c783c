"""Gaussian components on rows with missing values: densities, sums and draws given the observed values."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..kernels.gaussian_conditional import ConditionalGaussian
from ..kernels.visit import Summarize
from .gaussian_parameters import GaussianParameters


class GaussianMissing(GaussianParameters):
    """The hooks of `TakesMissing` for columns that depend on one another."""

    def given(self, x: Float[Tensor, "n d"]) -> ConditionalGaussian:
        """The components given the observed values of rows, NaN where missing; measured from their means."""
        y = x.unsqueeze(-2) - self.origin - self.loc_from_origin()
        return ConditionalGaussian(self.shape, self.scales(), y)

    def visit_missing(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Summarize]:
        """log N(observed values; loc[k], Sigma[k]), and the sums of E[T(x - origin[k]) | observed values, z = k]:
        missing values at their conditional means, plus their conditional covariances."""
        given, offset = self.given(x), self.loc_from_origin().detach()
        return given.log_prob, lambda r: given.expected_sums(offset, r, r)

    def moments_given(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k d"]]:
        """Mean and variance of each value given the observed values of its row and z = k."""
        given = self.given(x)
        return torch.where(x.isnan().unsqueeze(1), given.mean + self.loc, x.unsqueeze(1)), given.variance

    def draw_missing(
        self, x: Float[Tensor, "n d"], z: Int[Tensor, " n"], widths: Float[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n d"]:
        """x with its missing values drawn given the observed ones, by Matheron's rule.

        A full row is drawn first. Its residual from its own conditional mean is added to the conditional mean of x,
        `widths` times as large.
        """
        row = torch.arange(len(x), device=x.device)
        drawn = self.component(z).sample()
        residual = drawn - self.moments_given(torch.where(x.isnan(), torch.nan, drawn))[0][row, z]
        if widths is not None:
            residual = residual * widths.unsqueeze(-1)
        return torch.where(x.isnan(), self.moments_given(x)[0][row, z] + residual, x)
