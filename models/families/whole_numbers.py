"""Whole numbers: what counts and codes of categories must be."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

COUNTS = "counts, whole numbers of at least 0"


def not_counts(x: Float[Tensor, "n d"], below: Tensor | None = None) -> Bool[Tensor, "n d"] | None:
    """Which cells are not whole numbers of at least 0 (and less than `below`, of each column); None if all are.

    Looks at sums first, as a pass over good rows must not wait for this.
    """
    if x.numel() == 0:
        return None
    low, high = x.aminmax()
    fits = below is None or bool(high < below.min()) or bool((x.amax(0) < below).all())
    if low >= 0 and fits and x.frac().sum() == 0:
        return None
    bad = (x < 0) | (x != x.trunc())
    return bad if below is None else bad | (x >= below)
