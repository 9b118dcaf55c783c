"""The E-step of a family: sufficient statistics of rows, summed with their responsibilities."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...kernels.visit import Summarize, Visit
from .density import Density, not_written


class EStep(Density):
    """The sums of T(x) that the M-step reads. `visit` gives densities and sums together, where they share work."""

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """T(x), the sufficient statistics of each row. Written by every family."""
        raise not_written(self, "statistics")

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """sum over rows of r[n, k] T(x[n]), with r the responsibilities."""
        return responsibilities.T @ self.statistics(x)

    @property
    def block_rows(self) -> int:
        """How many rows `visit` takes at a time. The intermediate results should fit into the processor's cache."""
        return 8192

    def visit(self) -> Visit:
        """The E-step's view of rows at the present parameters: the hook that a fused or compiled kernel overrides.
        By default `log_prob` and `summarize` of a block of rows."""

        def block(x: Tensor) -> tuple[Tensor, Summarize]:
            log_prob = self.log_prob(x) + self.nan_if_unsupported(x)
            return log_prob, lambda responsibilities: self.summarize(x, responsibilities)

        return Visit(block)

    def visit_in(self, dtype: torch.dtype) -> Visit:
        """`visit` computed in this precision, with sums in float64. By default `visit`: float64 throughout."""
        return self.visit()
