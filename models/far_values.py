"""A value so far from all others that floating-point numbers do not tell the other rows apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..data.input_checks import describe_column
from ..data.rows import Rows
from .contract import Collapse, TooFewDistinctRows

# Beyond so many distances of the nine nearest rows in ten from the median, the squares of these distances are lost
# beside that of the value.
FAR = 1e10
NEAREST = 0.9


def describe_far_value(rows: Rows) -> str | None:
    """The value that is farthest from the others of its column in words, or None if all are near enough.

    A column most of whose values are equal has no scale, and is left out.

    Args:
        rows: The table. It is read once.

    Example:
        >>> from lowerbound.data import Rows
        >>> from lowerbound.models.far_values import describe_far_value
        >>> print(describe_far_value(Rows([[float(i)] for i in range(10)] + [[1e20]])))
        row 10, column 0 holds 1e+20, 2e+19 times as far from the median as nine rows in ten
    """
    if rows.processes > 1:  # each would name its own
        return None
    x = rows.sample(torch.Generator().manual_seed(0)).x.double()
    middle = x.nanmedian(0).values
    reach = torch.stack([_reach(column) for column in (x - middle).abs().T])
    worst, found = torch.tensor(FAR, dtype=torch.float64), None
    for chunk in rows.chunks():
        away = ((chunk.x.double() - middle).abs() / reach).nan_to_num(nan=0.0)
        if away.max() > worst:
            row, j = divmod(int(away.argmax()), away.shape[1])
            worst = away[row, j]
            where = describe_column(j, rows.columns)
            if chunk.row_numbers is not None:
                where = f"row {int(chunk.row_numbers[row])}, {where}"
            found = f"{where} holds {float(chunk.x[row, j]):g}"
    return None if found is None else f"{found}, {float(worst):.0e} times as far from the median as nine rows in ten"


def _reach(away: torch.Tensor) -> torch.Tensor:
    """The distance that nine in ten do not exceed; infinite if that is 0."""
    known = away[~away.isnan()]
    reach = known.quantile(NEAREST, interpolation="lower")
    return reach if reach > 0 else torch.full_like(reach, torch.inf)


@contextmanager
def far_values_named(rows: Rows) -> Iterator[None]:
    """Name a far value as the cause, if there is one, in place of an error of arithmetic that follows from it.

    Args:
        rows: The table that the body fits.

    Raises:
        Collapse, ArithmeticError, TooFewDistinctRows: What the body raised, with the cause.
    """
    try:
        yield
    except (ArithmeticError, TooFewDistinctRows) as error:
        far = describe_far_value(rows)
        if far is None:
            raise
        cure = "correct it, or leave the row out"
        sentence = f"{far}: beside it floating-point numbers do not tell the other rows apart"
        if isinstance(error, Collapse):
            raise Collapse(sentence, error.component, cure) from error
        raise type(error)(f"{sentence}; {cure}") from error
