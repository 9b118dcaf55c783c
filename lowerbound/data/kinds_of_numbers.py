"""What a column of numbers holds, as far as the column itself says."""

from __future__ import annotations

import numpy as np

from .column_kinds import COUNT, DROP, ColumnKind
from .column_values import LARGEST, ColumnValues
from .measurements import measurements
from .row_numbers import perhaps_ids, range_of, row_numbers

FEW = 12  # different whole numbers that may be categories
FEW_FRACTIONS = 5  # different numbers, not all whole, that may be
ROWS_PER_LEVEL = 5  # on average, below which they are no categories
SHOWN_LEVELS = 6  # in a reason; of more, three and the last
MOST_LEVELS = 1000  # their probabilities would fill the memory
STEADY = 0.3  # variance divided by mean, below which whole numbers are no counts


def kind_of_numbers(name: str, values: ColumnValues) -> ColumnKind:
    """The kind of a column with these values: "count" if it depends on the components."""
    if values.distinct < 2:
        return ColumnKind(name, DROP, f"{values.low:g} in every row" if values.count else "no value in any row")
    if values.is_complete and np.array_equal(values.values, [0, 1]):
        return ColumnKind(name, "bernoulli", "0 and 1")
    few = values.is_complete and values.distinct * ROWS_PER_LEVEL <= values.count
    if (left_out := row_numbers(name, values, few and values.distinct <= FEW)) is not None:
        return left_out
    if values.distinct == 2 and values.is_complete:
        return as_categories(name, values)
    if not values.is_whole or values.low < 0 or values.high > LARGEST:
        if few and values.distinct <= (FEW if values.is_whole else FEW_FRACTIONS):
            return as_categories(name, values)
        reason = "some below 0" if values.low < 0 else f"up to {values.high:.3g}"
        return measurements(name, values, f"whole numbers, {reason}" if values.is_whole else "measurements")
    if few and values.distinct <= FEW and (values.low > 0 or values.distinct < 4):
        return as_categories(name, values)
    doubt = perhaps_ids(values)
    if values.step > 1:
        return measurements(name, values, f"whole numbers in steps of {values.step}: measurements", doubt)
    if values.variance < STEADY * values.mean:
        reason = f"whole numbers, {range_of(values)}, that vary less than counts: measurements"
        return measurements(name, values, reason, doubt)
    levels = values.names if few and values.distinct <= FEW else None
    reason = f"whole numbers, {range_of(values)}" + (f" ({doubt})" if doubt else "")
    return ColumnKind(name, COUNT, reason, levels, is_guess=bool(doubt))


def as_categories(name: str, values: ColumnValues) -> ColumnKind:
    """A column of categories, whose levels are the numbers that occur."""
    few = values.distinct <= SHOWN_LEVELS
    shown = ", ".join(values.names[:SHOWN_LEVELS] if few else (*values.names[:3], "...", values.names[-1]))
    return ColumnKind(name, "categorical", f"{values.distinct} different numbers: {shown}", values.names)
