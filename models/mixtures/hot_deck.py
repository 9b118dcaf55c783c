"""Missing values filled with observed ones, for a start only (hot-deck imputation)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def donated(
    x: Float[Tensor, "n d"],
    cluster: Int[Tensor, " n"],
    mass: Float[Tensor, " n"],
    generator: torch.Generator,
) -> Float[Tensor, "n d"]:
    """Each missing cell filled with one that is seen in its column, drawn by `mass` from the rows of the same cluster,
    or where none has it from all: values that every family can take, as varied as the data.

    Raises ValueError for a column without any value.
    """
    filled = x.clone()
    for column in x.isnan().any(0).nonzero().squeeze(1).tolist():
        gone = x[:, column].isnan()
        everywhere = torch.where(gone, 0.0, mass)
        if not (everywhere > 0).any():
            raise ValueError(
                f"column {column} has no value in any of the rows that the start looks at, expected some: drop it"
            )
        for j in cluster[gone].unique().tolist():
            mine = gone & (cluster == j)
            near = torch.where(cluster == j, everywhere, 0.0)
            share = near if (near > 0).any() else everywhere
            drawn = torch.multinomial(share, int(mine.sum()), replacement=True, generator=generator)
            filled[mine, column] = x[drawn, column]
    return filled
