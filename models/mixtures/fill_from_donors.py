"""Missing values filled with observed ones, for a start only (hot-deck imputation)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...data.input_checks import describe_column


def fill_from_cluster(
    x: Float[Tensor, "n d"],
    cluster: Int[Tensor, " n"],
    mass: Float[Tensor, " n"],
    generator: torch.Generator,
    columns: Sequence[str] | None = None,
) -> Float[Tensor, "n d"]:
    """x with each missing value replaced by an observed value of the same column, drawn from the rows of its cluster.

    If no row of the cluster has a value in this column, all rows are candidates. The values filled in are ones that
    every family accepts, and vary as much as the data.

    Args:
        x: (n, d) rows with NaN where a value is missing.
        cluster: (n,) the cluster of each row.
        mass: (n,) row weights; a value is drawn with probability proportional to the weight of its row.
        generator: What the values are drawn from.
        columns: (d,) the names of the columns, or None.

    Raises:
        ValueError: A column has no value in any row of positive weight.
    """
    filled = x.clone()
    for column in x.isnan().any(0).nonzero().squeeze(1).tolist():
        missing = x[:, column].isnan()
        donors = torch.where(missing, 0.0, mass)
        if not (donors > 0).any():
            raise ValueError(
                f"{describe_column(column, columns)} has no value in any of the rows that the start is drawn from, "
                "expected some: drop it"
            )
        for j in cluster[missing].unique().tolist():
            to_fill = missing & (cluster == j)
            same_cluster = torch.where(cluster == j, donors, 0.0)
            probability = same_cluster if (same_cluster > 0).any() else donors
            drawn = torch.multinomial(probability, int(to_fill.sum()), replacement=True, generator=generator)
            filled[to_fill, column] = x[drawn, column]
    return filled
