"""What a column of numbers holds, as far as the column itself says."""

from __future__ import annotations

import re

import numpy as np

from .column_kinds import COUNT, DROP, ColumnKind
from .column_values import ColumnValues

FEW = 12  # different whole numbers that may be categories
FEW_FRACTIONS = 5  # different numbers, not all whole, that may be
ROWS_PER_LEVEL = 5  # on average, below which they are no categories
MOST_LEVELS = 1000  # their probabilities would fill the memory
LEAST_ROWS = 8  # below which nothing is a row number
LARGEST = 2**53  # beyond which float64 has no odd numbers
DENSE = 0.2  # the share of all numbers from the lowest to the highest that ids with gaps have
STEADY = 0.3  # variance divided by mean, below which whole numbers are no counts
FREQUENT, LONELY = 0.05, 5  # the share of the rows that an atom has, and how many times that of any other value
FLOOR = 0.3  # the least s.d. of a component beside an atom, relative to the s.d. of the column
NUMBERS_THINGS = re.compile(
    r"^(id|ID|Id|[Ii]ndex|[Rr]ow|[Nn]r|[Nn]o|[Oo]bs|[Cc]ase|[Uu]nnamed.*)$|[_ .-](id|ID|Id|[Nn]r|no)$|[a-z](Id|ID)$"
    r"|^(case|customer|patient|person|record|respondent|row|sample|student|subject|user|voter)id$"
)


def kind_of_numbers(name: str, values: ColumnValues) -> ColumnKind:
    """The kind of a column with these values: "count" if it depends on the components."""
    if values.distinct < 2:
        return ColumnKind(name, DROP, f"{values.low:g} in every row" if values.count else "no value in any row")
    if (reason := _numbers_the_rows(name, values)) is not None:
        return ColumnKind(name, DROP, reason)
    if values.distinct == 2 and values.is_complete:
        if values.codes is None:
            return ColumnKind(name, "bernoulli", "0 and 1")
        return as_categories(name, values)
    many = not values.is_complete or values.distinct * ROWS_PER_LEVEL > values.count
    if not values.is_whole or values.low < 0 or values.high > LARGEST:
        if not many and values.distinct <= (FEW if values.is_whole else FEW_FRACTIONS):
            return as_categories(name, values)
        reason = "some below 0" if values.low < 0 else f"up to {values.high:.3g}"
        return measurements(name, values, f"whole numbers, {reason}" if values.is_whole else "measurements")
    if not many and values.distinct <= FEW and (values.low > 0 or values.distinct < 4):
        return as_categories(name, values)
    step = int(np.gcd.reduce((values.values - values.low).astype(np.int64)))
    if step > 1:
        return measurements(name, values, f"whole numbers in steps of {step}: measurements")
    if values.variance < STEADY * values.mean:
        return measurements(name, values, f"whole numbers, {_range(values)}, that vary less than counts: measurements")
    few = not many and values.distinct <= FEW
    return ColumnKind(name, COUNT, f"whole numbers, {_range(values)}", values.names if few else None)


def as_categories(name: str, values: ColumnValues) -> ColumnKind:
    """A column of categories, whose levels are the numbers that occur."""
    shown = ", ".join(values.names[:3]) + (f", ... {values.names[-1]}" if values.distinct > 3 else "")
    return ColumnKind(name, "categorical", f"{values.distinct} different numbers: {shown}", values.names)


def measurements(name: str, values: ColumnValues, reason: str) -> ColumnKind:
    """A Gaussian column. Where one value is frequent, the s.d. of a component is kept from shrinking onto it."""
    order = values.counts.argsort()[::-1]
    counts = values.counts[order]
    for atoms in (1, 2):
        if len(counts) > atoms and counts[atoms - 1] > max(FREQUENT * values.count, LONELY * counts[atoms]):
            share = counts[:atoms].sum() / values.count
            shown = " or ".join(f"{v:g}" for v in np.sort(values.values[order[:atoms]]))
            return ColumnKind(
                name, "gaussian", f"{reason}, {share:.0%} of them {shown}", None, FLOOR * values.variance**0.5
            )
    return ColumnKind(name, "gaussian", reason)


def _numbers_the_rows(name: str, values: ColumnValues) -> str | None:
    """Why a column only numbers the rows, or things that have several rows; None if it does not."""
    if not values.is_whole or values.count < LEAST_ROWS:
        return None
    span = values.high - values.low + 1
    if values.all_differ:
        if span == values.count:
            return f"row numbers: each of {values.low:.0f} to {values.high:.0f} once"
        if values.increases and values.count > DENSE * span:
            return f"row numbers with gaps: ascending, {_range(values)}"
        if NUMBERS_THINGS.search(name):
            return "an id: each number once"
    elif NUMBERS_THINGS.search(name) and values.distinct > FEW:
        return f"an id: its name says that its {values.distinct} numbers tell things apart"
    if values.distinct > FEW and values.low >= 19000101 and values.high < 21010000:
        month, day = values.values // 100 % 100, values.values % 100
        if ((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all():
            return f"dates, such as {values.low:.0f}"
    return None


def _range(values: ColumnValues) -> str:
    return f"{values.low:.0f} to {values.high:.0f}"
