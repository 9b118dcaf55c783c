"""Checks of counts and of codes of categories: whole numbers."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

COUNTS = "counts, whole numbers of at least 0"


def invalid_counts(x: Float[Tensor, "n d"], below: Tensor | None = None) -> Bool[Tensor, "n d"] | None:
    """Which values are not whole numbers of at least 0, or not less than `below` (d,); None if all are fine.

    Extremes and a sum come first: they are quick, and on valid rows nothing else is needed.
    """
    if x.numel() == 0:
        return None
    low, high = x.aminmax()
    fits = below is None or bool(high < below.min()) or bool((x.amax(0) < below).all())
    if low >= 0 and fits and x.frac().sum() == 0:
        return None
    invalid = (x < 0) | (x != x.trunc())
    return invalid if below is None else invalid | (x >= below)
