"""Checks of the components of a mixture: those that have collapsed, and those that rest on few rows."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...data.schema import Schema
from ..families.family import Family
from ..module import Recorded
from .describe_collapse import describe_collapse
from .doubtful_components import doubtful_components


class ChecksComponents(Recorded):
    """A mixture that finds components which say nothing about other rows: singularities and spurious maxima."""

    family: Family
    weights: Tensor
    schema: Schema | None
    weight_of_fit: float | None

    def check(self) -> None:
        """Raise `Collapse` if a component has shrunk onto a few rows, where the likelihood has no upper bound."""
        family, weights = self._family_and_weights()
        collapsed = family.collapsed(weights)
        if collapsed.any():
            names = None if self.schema is None else self.schema.columns
            raise describe_collapse(family, weights, collapsed, names, self.weight_of_fit)

    def component_rows(self, rows: float) -> Float[Tensor, " k"]:
        """How many of these rows each component holds: its weight times their number.

        Args:
            rows: How many rows there are: `Rows.counted_rows`.
        """
        return self.weights.detach() * rows

    @torch.no_grad()
    def doubts(self, rows: float) -> list[str]:
        """One sentence for each component that rests on few rows, or is thin beside the others.

        The likelihood may have a maximum there that says nothing about other rows (a spurious maximum). Few are less
        than 2 (d + 1) rows for a full covariance in d columns, and less than 4 for every other family. Thin is a
        covariance whose smallest eigenvalue, relative to the average component, is below 1e-5; one that is shared or
        has a floor is not asked. Components with a prior are not doubted.

        Args:
            rows: How many rows the fit had: `Rows.counted_rows`.

        References:
            Garcia-Escudero, Gordaliza, Greselin, Ingrassia and Mayo-Iscar, Eigenvalues and constraints in mixture
            modeling, Advances in Data Analysis and Classification 12 (2018), 203-233.

        Example:
            >>> from lowerbound.models import GaussianMixture, seed
            >>> x = [[0.0], [0.1], [5.0], [6.0], [7.0], [8.0], [9.0]]
            >>> seed(GaussianMixture(2, 1), x).doubts(7)
            ['a component of weight 0.307 rests on about 2.15 rows, fewer than 4']
        """
        return doubtful_components(self.family, self.weights.detach(), None if self.is_frozen("weights") else rows)

    def _family_and_weights(self) -> tuple[Family, Float[Tensor, " k"]]:
        """The components and their weights, in which a collapse is looked for."""
        return self.family, self.weights.detach()
