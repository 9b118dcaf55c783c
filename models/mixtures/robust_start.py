"""The start of components with heavy tails: a row far outside changes nothing, and no component starts on it.

k-means++ prefers the rows that are farthest from all others. For a family that is meant to take outliers, such as
`StudentT`, rows are therefore brought to the fences of their columns first, and a component that starts on a few
rows is drawn anew. Both are for the start only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

FENCE = 3.0  # interquartile ranges beyond the quartiles: Tukey's outer fences
COLUMNS = 256  # at a time: torch takes quantiles of 16 million numbers at most
REDRAWS = 10  # at most, of the centres of one start

Draw = Callable[[Tensor], Tensor]  # row weights (n,) -> centres (k, c)


def within_fences(x: Float[Tensor, "n d"], weights: Float[Tensor, " n"]) -> Float[Tensor, "n d"]:
    """Rows with values beyond the fences of their column moved to the fence.

    A column whose quartiles are equal has no fences. NaN stays. The quartiles are those of the rows with positive
    weight, each counted once.

    Args:
        x: (n, d) rows.
        weights: (n,) row weights.

    Returns:
        (n, d), x itself where nothing is beyond a fence.
    """
    share = x.new_tensor([0.25, 0.75])
    own = x[weights > 0].split(COLUMNS, 1)
    lower, upper = torch.cat([torch.nanquantile(part, share, dim=0) for part in own], 1)
    reach = torch.where(upper > lower, FENCE * (upper - lower), torch.inf)
    low, high = lower - reach, upper + reach
    return x if not ((x < low) | (x > high)).any() else torch.minimum(torch.maximum(x, low), high)


def spread_of(y: Float[Tensor, "n c"]) -> Float[Tensor, " c"]:
    """The standard deviation of each column, 1 for a constant one."""
    spread = y.std(0, correction=0)
    return torch.where(spread > 0, spread, 1.0)


def centres_with_rows(
    y: Float[Tensor, "n c"], weights: Float[Tensor, " n"], draw: Draw, least_rows: int, known: set[int]
) -> Float[Tensor, "k c"]:
    """k centres to each of which at least so many rows are nearest, as far as some draws find them.

    Rows that are nearest to a centre with fewer rows are left out of the next draw.

    Args:
        y: (n, c) points.
        weights: (n,) row weights.
        draw: Draws centres by row weights; raises ValueError if there are too few rows.
        least_rows: The rows that a component needs.
        known: The components whose centres are given.
    """
    best, most = draw(weights), -1
    centres = best
    for _ in range(REDRAWS):
        nearest = torch.cdist(y, centres, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
        rows = torch.bincount(nearest[weights > 0], minlength=len(centres))
        rows[list(known)] = len(y)
        if int(rows.min()) > most:
            best, most = centres, int(rows.min())
        if most >= least_rows:
            break
        weights = torch.where((rows < least_rows)[nearest], 0.0, weights)
        try:
            centres = draw(weights)
        except (ValueError, RuntimeError):  # too few rows are left
            break
    return best
