"""A table whose columns are in groups, each with its own family: how rows and statistics are split and joined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroModule
from torch import Tensor

from ...data.moments import Moments
from .family import Family


class ColumnGroups(Family):
    """Families side by side, each for a group of the columns: `families` and `columns`."""

    def __init__(self, *families: Family, columns: Sequence[Sequence[int]] | None = None):
        super().__init__()
        wrong = [f for f in families if not isinstance(f, Family)]
        if wrong or not families:
            got = type(wrong[0]).__name__ if wrong else "nothing"
            raise TypeError(f"got {got}, expected families such as Gaussian(3, 2), Poisson(3, 1)")
        if len(set(map(id, families))) < len(families):
            raise ValueError("got one family twice, expected one object for each group of columns: make two")
        sizes = [family.components for family in families]
        if len(set(sizes)) > 1:
            raise ValueError(f"the families have {sizes} components, expected the same number")
        widths = [family.features for family in families]
        if columns is None:
            columns = [g.tolist() for g in torch.arange(sum(widths)).split(widths)]
        got = [len(group) for group in columns]
        if got != widths or sorted(j for group in columns for j in group) != list(range(sum(widths))):
            raise ValueError(
                f"columns is {columns!r}, expected the columns 0 .. {sum(widths) - 1} each once, in groups of {widths}"
            )
        self.parts = PyroModule[torch.nn.ModuleList](families)  # type: ignore[reportArgumentType]
        self.columns = tuple(tuple(int(j) for j in group) for group in columns)

    @property
    def families(self) -> list[Family]:
        """The family of each group."""
        return list(self.parts)  # type: ignore[arg-type]

    @property
    def components(self) -> int:
        """k, the number of components."""
        return self.families[0].components

    @property
    def features(self) -> int:
        """d, the number of columns of x."""
        return sum(map(len, self.columns))

    def split_rows(self, x: Tensor) -> list[tuple[Family, Tensor]]:
        """Each family with its columns of x."""
        return [(f, x[:, list(group)]) for f, group in zip(self.families, self.columns, strict=True)]

    def split_statistics(self, total: Float[Tensor, "k s"]) -> list[tuple[Family, Tensor]]:
        """Each family with its own statistics, out of those of all groups side by side."""
        no_rows = total.new_ones(0, self.features), total.new_ones(0, self.components)
        sizes = [f.summarize(y, no_rows[1]).shape[1] for f, y in self.split_rows(no_rows[0])]
        return list(zip(self.families, total.split(sizes, -1), strict=True))

    def split_moments(self, data: Moments) -> list[Moments]:
        """The moments of the columns of each group."""
        return [data.part(group) for group in self.columns]

    def join_masks(self, parts: Sequence[Tensor | None], x: Tensor) -> Bool[Tensor, "n d"]:
        """The masks of all groups in the columns of the table; None stands for False everywhere."""
        joined = torch.zeros_like(x, dtype=torch.bool)
        for mask, group in zip(parts, self.columns, strict=True):
            if mask is not None:
                joined[:, list(group)] = mask
        return joined
