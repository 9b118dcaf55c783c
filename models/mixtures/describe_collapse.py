"""A collapse in words: which component, which columns, what is in it, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..contract import Collapse
from ..families.family import Family

ZERO = 1e-200  # a mean below it stands for 0 in a family of positive numbers
MOST_COLUMNS = 4  # that are named


def describe_collapse(
    family: Family,
    weights: Float[Tensor, " k"],
    collapsed: Bool[Tensor, " k"],
    columns: Sequence[str] | None,
    rows: float | None,
) -> Collapse:
    """The collapse of the first of these components.

    Args:
        family: The components.
        weights: (k,) their weights.
        collapsed: (k,) which components have collapsed.
        columns: (d,) names of the columns; None: their numbers.
        rows: How many rows the fit had, if it is known.
    """
    j, k, d = int(collapsed.nonzero()[0]), len(weights), family.features
    everyone = k > 1 and bool(collapsed.all())
    shrunk = family.shrunk(weights)[j].nonzero().flatten().tolist()
    dependent = [] if shrunk else family.dependent_columns(j)
    count = None if rows is None or everyone else round(float(weights[j]) * rows)
    held = f"about {count} row{'s' if count != 1 else ''}"
    cure = 'give the model prior="weak", or more restarts, or fewer components'
    if d > 1 and len(shrunk) == d:
        if family.robust_start:  # heavy tails: shares of far rows may be most of its weight
            what = "shares of rows around one point, which is one row or several equal ones"
        else:
            what = "equal rows up to rounding" if count is None or count > 1 else "one row"
        cure += "; or leave out repeated rows" + (", if there are any" if family.robust_start else "")
    elif shrunk:
        what = f"rows with one value, up to rounding: {_values(family, j, shrunk, columns)}"
        cure = f"drop {_listed(shrunk, columns)} unless it is a measurement; or {cure}"
    elif count is not None and count <= d:
        what = f"too few rows for {d} columns"
    elif dependent:
        what = f"rows in which {_listed(dependent, columns)} follow from one another, up to rounding"
        cure = f"drop one of these columns; or {cure}"
    else:
        what = "rows for which the likelihood has no upper bound"
    who = f"all {k} components have collapsed: they hold " if everyone else f"component {j} has collapsed: it holds "
    return Collapse(who + (what if count is None else f"{held}, {what}"), j, cure)


def _listed(numbers: Sequence[int], columns: Sequence[str] | None) -> str:
    """Columns by name or number: columns 'a', 'b' and 'c'."""
    words = [str(i) if columns is None else repr(columns[i]) for i in numbers[:MOST_COLUMNS]]
    if len(numbers) > MOST_COLUMNS:
        return f"columns {', '.join(words)} and {len(numbers) - MOST_COLUMNS} more"
    *first, last = words
    return f"columns {', '.join(first)} and {last}" if first else f"column {last}"


def _values(family: Family, j: int, numbers: Sequence[int], columns: Sequence[str] | None) -> str:
    """The value of component j in each of these columns, as far as it is known: 1 in column 'size'."""
    mean = family.moments().mean[j]
    mean = torch.where(mean.abs() < ZERO, 0.0, mean)
    parts = [
        f"{float(mean[i]):.4g} in {_listed([i], columns)}" if torch.isfinite(mean[i]) else f"in {_listed([i], columns)}"
        for i in numbers[:MOST_COLUMNS]
    ]
    more = len(numbers) - len(parts)
    return ", ".join(parts) + (f", and in {more} more columns" if more else "")
