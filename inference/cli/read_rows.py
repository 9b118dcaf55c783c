"""The rows that DATA names, checked against what the models accept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...data.held_out import split
from ...data.read_file import read
from ...models import Rows
from ..fitting.distributed_rows import rows_for_fit
from .column_kinds import with_categories
from .models_by_name import MODELS
from .name_options import join_with_or


def read_rows(data: str, models: Sequence[str], held_out: float, seed: int) -> tuple[Rows, Rows | None, Rows]:
    """Read a data set and split off the rows held out.

    Returns the rows to fit, the rows held out (None if held_out is 0), and all rows, which know every category.
    Raises ValueError if one of the models does not accept categories or missing values and the table has some.
    """
    table = read(data)
    if all(model == "categorical" for model in models):
        table = with_categories(table)
    try:
        rest, others = split(table, held_out, seed) if held_out else (table, None)
    except ValueError as error:
        raise ValueError(f"--held-out: {error}") from None
    rows, every_row = Rows(rest, missing=True), Rows(table, missing=True)
    _require_accepted(rows_for_fit(every_row), models, Path(data).name)
    return rows, None if others is None else Rows(others, missing=True), every_row


def _require_accepted(rows: Rows, models: Sequence[str], file: str) -> None:
    """Raise ValueError for the first model that does not accept the categories or missing values of the rows."""
    words = [repr(name) for name, levels in zip(rows.columns, rows.levels, strict=True) if levels is not None]
    missing = bool(rows.gaps.cells)
    unable = [model for model in models if not MODELS[model].categories]
    if words and unable:
        able = join_with_or(name for name, each in MODELS.items() if each.categories and (each.missing or not missing))
        names = ", ".join(words[:4]) + (f", ... ({len(words)})" if len(words) > 4 else "")
        holds = f"column{'s' if len(words) > 1 else ''} {names} of {file} hold{'s' * (len(words) == 1)}"
        raise ValueError(
            f"{holds} categories, but --model {unable[0]} expects numbers: use --model {able}, or drop such columns"
        )
    unable = [model for model in models if not MODELS[model].missing]
    if unable and missing:
        able = join_with_or(name for name, each in MODELS.items() if each.missing and (each.categories or not words))
        raise ValueError(
            f"{rows.gaps.first} in {file}, but --model {unable[0]} takes no missing values: use --model {able}, or "
            "drop rows with missing values"
        )
