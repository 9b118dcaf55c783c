"""The rows that DATA names, checked against what the models accept."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...data.column_kinds import ColumnKinds
from ...data.held_out import split
from ...data.open_table import as_table
from ...data.read_file import header_note, read
from ...data.schema import Schema
from ...data.seeds import require_seed
from ...models import Rows, column_kinds
from ..fitting.distributed_rows import rows_for_fit
from .models_by_name import COMPONENTS, MODELS
from .name_options import join_with_or, parse_header


@dataclass(frozen=True)
class TableRead:
    """A table as the models get it: the rows to fit, those held out, all of them, and what was decided of it."""

    table: Any  # as it was read, with all columns
    rows: Rows
    held_out: Rows | None
    every_row: Rows  # these know every category
    kinds: ColumnKinds | None  # of the columns, for a model that chooses by them
    note: str  # on the first line of the file

    def __str__(self) -> str:
        """What was decided, to be printed before the fit; "" where there was nothing to decide."""
        parts = [self.note, "" if self.kinds is None else str(self.kinds)]
        return "".join(f"{part}\n\n" for part in parts if part)


def read_rows(
    data: str,
    models: Sequence[str],
    held_out: float,
    seed: int,
    header: str | None = None,
    kinds: Any = None,
    components: int | None = None,
) -> TableRead:
    """Read a data set, decide what its columns hold, and split off the rows held out, None if held_out is 0.

    kinds, components: of --model mixed, which leaves columns out. Numbers stay numbers: a model that takes some of them
    for categories remembers their levels.
    Raises ValueError if one of the models does not accept categories or missing values and the table has some.
    """
    require_seed(seed)
    has_header = parse_header(header)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the note says it
        whole = table = read(data, has_header)
    note, decided = header_note(data, table, has_header), None
    if "mixed" in models:
        rows = Rows(table, missing=True)
        decided = column_kinds(rows_for_fit(rows), components or COMPONENTS, kinds)
        table = _conformed(table, _kept(decided, rows))
    try:
        rest, others = split(table, held_out, seed) if held_out else (table, None)
    except ValueError as error:
        raise ValueError(f"--held-out: {error}") from None
    rows, every_row = Rows(rest, missing=True), Rows(table, missing=True)
    _require_accepted(rows_for_fit(every_row), models, Path(data).name)
    return TableRead(whole, rows, None if others is None else Rows(others, missing=True), every_row, decided, note)


def _kept(kinds: ColumnKinds, rows: Rows) -> Schema:
    """The columns that are kept, with the levels of words."""
    dtypes = dict(zip(rows.columns, rows.dtypes or [float] * rows.width, strict=True))
    are_numbers = {name for name, dtype in dtypes.items() if pd.api.types.is_numeric_dtype(dtype)}
    return ColumnKinds(replace(each, levels=None) if each.name in are_numbers else each for each in kinds).schema


def _conformed(table: Any, schema: Schema) -> Any:
    """The columns of a table by a schema: a DataFrame, or a view of a table in a file."""
    if isinstance(table, pd.DataFrame):
        return schema.conform(table)
    opened = as_table(table).conformed(schema)
    return table if opened.schema is None else opened


def _takes_kinds(model: str, rows: Rows) -> bool:
    """Whether a model that takes categories takes what the other columns hold, too; for a message."""
    if model == "mixed" or None not in rows.levels:
        return True
    return model == "categorical" and all(each.is_whole and not each.low < 0 for each in rows.column_values)


def _require_accepted(rows: Rows, models: Sequence[str], file: str) -> None:
    """Raise ValueError for the first model that does not accept the categories or missing values of the rows."""
    words = [repr(name) for name, levels in zip(rows.columns, rows.levels, strict=True) if levels is not None]
    missing = bool(rows.gaps.cells)
    unable = [model for model in models if not MODELS[model].categories]
    if words and unable:
        able = join_with_or(
            name
            for name, each in MODELS.items()
            if each.categories and (each.missing or not missing) and _takes_kinds(name, rows)
        )
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
