"""Whether the first line of a CSV file names its columns, also where all names are numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

FAR = 0.1  # of the range of a column: a number that lies further outside is none of its values
SMALL = 0.2  # nor is one that is this much smaller than all of them
FEW = 3  # columns of codes, in which a line 0, 1, 2 may be a row


def is_number(cell: str) -> bool:
    """Whether a cell holds a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def could_be_names(first: Sequence[str]) -> bool:
    """Whether a first line of numbers looks like one of names: 0 (.. d - 1), or several whole numbers in even steps.

    first: (d,) the cells of the first line, as text.
    """
    numbers = _whole_numbers(first)
    return numbers is not None and (_are_codes(numbers) or _is_sequence(numbers))


def are_names(first: Sequence[str], rows: pd.DataFrame) -> bool:
    """Whether a first line of numbers names the columns: 0 .. d - 1, or different whole numbers unlike their columns.

    0 .. d - 1 is what pandas writes for a table without names. Numbers are unlike a column that holds mostly fractions
    or words, or whose range is far from them. Years, and others in even steps, are expected in such a line; two that
    are in the range of their columns are a row, and so is one number other than 0 above numbers.

    Args:
        first: (d,) the cells of the first line, as text.
        rows: (n, d) the other lines.
    """
    numbers = _whole_numbers(first)
    if numbers is None or not len(rows):
        return False
    table = rows.apply(pd.to_numeric, errors="coerce")
    columns = [table.iloc[:, j].dropna().to_numpy(float) for j in range(len(first))]
    if _are_codes(numbers):
        are_there = [(column == number).any() for column, number in zip(columns, numbers, strict=True)]
        if len(first) == 1:
            return _is_fractional(columns[0]) and not are_there[0]
        return not (all(are_there) and len(first) <= FEW)
    if len(first) == 1:
        return not len(columns[0])
    is_sequence = _is_sequence(numbers)
    return all(
        (is_sequence and len(first) > 2 and _is_fractional(column)) or _is_outside(column, number, is_sequence)
        for column, number in zip(columns, numbers.tolist(), strict=True)
    )


def _whole_numbers(first: Sequence[str]) -> np.ndarray | None:
    """The cells as whole numbers; None unless all are, and differ."""
    if not all(cell.strip().isdecimal() and str(int(cell)) == cell.strip() for cell in first):
        return None
    return np.array([int(cell) for cell in first]) if len(set(first)) == len(first) else None


def _are_codes(numbers: np.ndarray) -> bool:
    return bool((numbers == np.arange(len(numbers))).all())


def _is_sequence(numbers: np.ndarray) -> bool:
    """Whether they ascend in even steps, two of them by 1."""
    steps = np.diff(numbers)
    return len(steps) > 0 and bool((steps == max(steps[0], 1)).all() and (len(steps) > 1 or steps[0] == 1))


def _is_fractional(column: np.ndarray) -> bool:
    """Whether a column holds words, or mostly numbers that are not whole."""
    return not len(column) or bool((column != column.round()).mean() > 0.5)


def _is_outside(column: np.ndarray, number: int, is_sequence: bool) -> bool:
    """Whether a number is far from all values of a column; of a single number it must be further."""
    if not len(column):
        return True
    if is_sequence and number < SMALL * column.min():
        return True
    margin = (FAR if is_sequence else 1.0) * (column.max() - column.min())
    return not column.min() - margin <= number <= column.max() + margin
