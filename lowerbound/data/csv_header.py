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


def are_names(first: Sequence[str], rows: pd.DataFrame) -> bool:
    """Whether a first line of numbers names the columns: 0 .. d - 1, or different whole numbers unlike their columns.

    0 .. d - 1 is what pandas writes for a table without names. Numbers are unlike a column that holds mostly fractions
    or words, or whose range is far from them. Years, and others in equal steps, are expected in such a line.

    Args:
        first: (d,) the cells of the first line, as text.
        rows: (n, d) the other lines.
    """
    if not all(cell.strip().isdigit() and str(int(cell)) == cell.strip() for cell in first):
        return False
    numbers = np.array([int(cell) for cell in first])
    if len(set(first)) < len(first) or not len(rows):
        return False
    table = rows.apply(pd.to_numeric, errors="coerce")
    columns = [table.iloc[:, j].dropna().to_numpy(float) for j in range(len(first))]
    if (numbers == np.arange(len(first))).all() and len(first) > 1:
        is_a_row = all((column == number).any() for column, number in zip(columns, numbers, strict=True))
        return not (is_a_row and len(first) <= FEW)
    steps = np.diff(numbers)
    is_even = len(steps) > 0 and bool((steps == steps[0]).all())
    is_sequence = is_even and (int(steps[0]) == 1 or (int(steps[0]) > 0 and len(steps) > 1))
    return all(
        (is_sequence and _is_fractional(column)) or _is_outside(column, number, is_sequence)
        for column, number in zip(columns, numbers.tolist(), strict=True)
    )


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
