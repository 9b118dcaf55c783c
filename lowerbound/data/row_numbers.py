"""Numbers that say nothing: row numbers, ids, postal codes and dates."""

from __future__ import annotations

import numpy as np

from .column_kinds import DROP, ColumnKind
from .column_values import ColumnValues
from .names_of_ids import names_places, names_things, numbers_rows

LEAST_ROWS = 8  # below which nothing is a row number
GAPS = 1.5  # the mean step of row numbers of which some are missing, in units of the least
LARGEST_GAP = 10  # and their largest step
SPARSE = 10  # ids that are drawn at random leave out so many times as many numbers as they use
EVEN_ROWS, EVEN = 30, 1.36  # rows that tell whether numbers are spread evenly, and the 5 % limit of Kolmogorov's test


def row_numbers(name: str, values: ColumnValues, few: bool) -> ColumnKind | None:
    """A column that is left out because it numbers rows, things, places or days; None for other columns.

    few: whether it has so few different values that these may be categories.
    """
    if not values.is_whole or values.count < LEAST_ROWS:
        return None
    if names_places(name):
        return None if few else ColumnKind(name, DROP, "postal codes, by its name: their size means nothing")
    if values.all_differ:
        if values.high - values.low + 1 == values.count:
            return ColumnKind(name, DROP, f"row numbers: each of {values.low:.0f} to {values.high:.0f} once")
        if numbers_rows(name):
            return ColumnKind(name, DROP, "an id: each number once")
        if values.increases and _has_even_steps(values):
            reason = f"row numbers with gaps: ascending in even steps, {range_of(values)}"
            return ColumnKind(name, DROP, reason, is_guess=True)
    elif numbers_rows(name) and (values.distinct > 2 or names_things(name)):
        return ColumnKind(name, DROP, f"an id: its name says that its {values.distinct} numbers tell things apart")
    if not few and values.low >= 19000101 and values.high < 21010000:
        month, day = values.values // 100 % 100, values.values % 100
        if ((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all():
            return ColumnKind(name, DROP, f"dates, such as {values.low:.0f}")
    return None


def perhaps_ids(values: ColumnValues) -> str:
    """Why whole numbers may be ids that are drawn at random: in words, or "" if they do not look like it."""
    span = values.high - values.low
    if not (values.is_complete and values.all_differ and values.count >= EVEN_ROWS and span > SPARSE * values.count):
        return ""
    share = np.arange(values.count + 1) / values.count
    place = (values.values - values.low) / span
    distance = max((share[1:] - place).max(), (place - share[:-1]).max())  # of Kolmogorov and Smirnov
    return "all differ and are spread evenly, as ids are" if distance * values.count**0.5 < EVEN else ""


def range_of(values: ColumnValues) -> str:
    """The smallest and the largest number, in words."""
    return f"{values.low:.0f} to {values.high:.0f}"


def _has_even_steps(values: ColumnValues) -> bool:
    """Whether all steps are about the same: a sorted measurement has smaller steps where its values are dense."""
    mean = (values.high - values.low) / (values.count - 1)
    return mean <= GAPS * values.least_step and values.largest_step <= LARGEST_GAP * values.least_step
