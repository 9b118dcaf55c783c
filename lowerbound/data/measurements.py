"""Columns of measurements, of which one value may be frequent, such as 0."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from .column_kinds import ColumnKind
from .column_values import ColumnValues

FREQUENT, LONELY = 0.05, 5  # the share of the rows that an atom has, and how many times that of any other value
FLOOR = 0.3  # the least s.d. of a component beside an atom, relative to the spread of the other values
NORMAL = {0.25: 1.349, 0.05: 3.290}  # how far apart, in s.d., these quantiles of a normal are on both sides


def measurements(name: str, values: ColumnValues, reason: str, doubt: str = "") -> ColumnKind:
    """A Gaussian column. Where one value is frequent, the s.d. of a component is kept from shrinking onto it.

    doubt: why it may be none, in words; "" for no doubt.
    """
    reason += f" ({doubt})" if doubt else ""
    order = values.counts.argsort()[::-1]
    counts = values.counts[order]
    for atoms in (1, 2):
        if len(counts) > atoms and counts[atoms - 1] > max(FREQUENT * values.count, LONELY * counts[atoms]):
            others = np.ones(len(counts), bool)
            others[order[:atoms]] = False
            share = counts[:atoms].sum() / values.count
            shown = " or ".join(f"{v:g}" for v in np.sort(values.values[order[:atoms]]))
            floor = FLOOR * min(_spread(values, others), values.variance**0.5)
            apart = f": alone, with an s.d. of at least {floor:.2g}" if floor else ""
            return ColumnKind(
                name, "gaussian", f"{reason}, {share:.0%} of them {shown}{apart}", None, floor, bool(doubt)
            )
    return ColumnKind(name, "gaussian", reason, is_guess=bool(doubt))


def _spread(values: ColumnValues, some: Bool[np.ndarray, " v"]) -> float:
    """The s.d. of some of the values by their quantiles, which outliers do not move; 0 if almost all are one."""
    kept, counts = values.values[some], values.counts[some]
    share = counts.cumsum() / counts.sum()
    for tail, width in NORMAL.items():
        low, high = kept[np.searchsorted(share, [tail, 1 - tail])]
        if high > low:
            return float(high - low) / width
    return 0.0
