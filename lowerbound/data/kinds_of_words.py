"""What a column of words holds: categories, dates, names, or numbers with a slip."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .column_kinds import DROP, ColumnKind
from .column_values import ColumnValues
from .input_checks import DATES, holds_dates, is_category
from .names_of_ids import names_things
from .row_numbers import LEAST_ROWS
from .rows import Rows

SHOWN_WORDS = 6  # in a reason
MOST_WORDS = 20  # categories that a column may have however few rows there are
TOO_MANY = "too many different words: names, no categories"
SLIPS = 0.5  # of more than 20 different words so many are numbers: the others are slips
DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?([ T]\d{1,2}:\d{2}.*)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{2}|\d{4})( \d{1,2}:\d{2}.*)?"
    r"|\d{1,2}:\d{2}(:\d{2})?|\d{1,2}\.? ?[A-Za-z]{3,9}\.? ?\d{4}|[A-Za-z]{3,9}\.? \d{1,2},? \d{4}"
)


def words_of_columns(rows: Rows, left_out: set[str]) -> list[Sequence[str] | str | None]:
    """For each column its different words, or None if it holds numbers, or in a sentence why it can be neither.

    left_out: names of columns that are not looked at. Raises TypeError for numbers in a column of Python objects.
    """
    kinds: Sequence[Any] = rows.dtypes or [np.dtype(float)] * rows.width
    found: list[Sequence[str] | str | None] = []
    for j, (name, kind, words) in enumerate(zip(rows.columns, kinds, rows.levels, strict=True)):
        if name in left_out:
            found.append("as asked for")
        elif words is not None or is_category(kind):
            found.append(words or "no value in any row")
        elif pd.api.types.is_bool_dtype(kind):
            found.append(("False", "True"))
        elif pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind):
            found.append(None)
        elif holds_dates(kind):
            found.append("dates or times")
        elif pd.api.types.is_object_dtype(kind) or pd.api.types.is_string_dtype(kind):
            found.append(_words_of(name, rows, j) if rows.in_memory else TOO_MANY)
        else:
            found.append(f"{kind} values, neither numbers nor words")
    return found


def _words_of(name: str, rows: Rows, j: int) -> Sequence[str] | str:
    """The different words of a column of Python objects, sorted. Processes look at a part of the rows each."""

    def scan() -> dict[str, None]:
        column = rows.table.iloc[:, j].dropna()
        holds = pd.api.types.infer_dtype(column)
        if holds in ("integer", "floating", "decimal", "mixed-integer-float"):
            raise TypeError(f"column {name!r} holds numbers as Python objects: convert it by .astype(float)")
        if holds in DATES:
            return {"": None}
        odd = [value for value in column if not isinstance(value, Hashable)]
        if odd:
            raise TypeError(
                f"column {name!r} holds a {type(odd[0]).__name__} in a cell, expected a number or a word in each: "
                "make a column of each of its parts, or drop it"
            )
        return dict.fromkeys(map(str, pd.unique(column)))

    words = sorted(rows.reduced(scan, lambda a, b: a | b))
    return "dates or times" if words == [""] else words or "no value in any row"


def kind_of_words(name: str, words: Sequence[str], codes: ColumnValues) -> ColumnKind:
    """The kind of a column with these words, of which those with these codes occur.

    Raises ValueError, naming one, if most words are numbers and the others look like slips.
    """
    used = tuple(words[int(code)] for code in codes.values)
    if len(used) < 2:
        return ColumnKind(name, DROP, f"{used[0]!r} in every row" if used else "no value in any row")
    if sum(DATE.fullmatch(word.strip()) is not None for word in used) > 0.9 * len(used):
        return ColumnKind(name, DROP, f"dates or times, such as {used[0]}")
    if names_things(name) and codes.count >= LEAST_ROWS:  # before numbers are looked for: 0000000a is no slip
        return ColumnKind(name, DROP, f"an id: its name says that its {len(used)} words tell things apart")
    numbers = [_is_number(word) for word in used]
    if len(used) > MOST_WORDS and sum(numbers) > SLIPS * len(used):
        slip = next((word for word, is_number in zip(used, numbers, strict=True) if not is_number), None)
        raise ValueError(
            f"column {name!r} holds numbers"
            + (f" written as words, such as {used[0]!r}" if slip is None else f" and {slip!r}")
            + ": correct such values, leave them empty, or leave the column out, as kind 'drop'"
        )
    if hardly_repeat(codes):
        return ColumnKind(name, DROP, f"{len(used)} different words in {codes.count} rows: names, no categories")
    shown = ", ".join(used if len(used) <= SHOWN_WORDS else (*used[:SHOWN_WORDS], "..."))
    return ColumnKind(name, "categorical", f"{len(used)} different words: {shown}", used)


def hardly_repeat(codes: ColumnValues) -> bool:
    """Whether the words of a column are names, by how often each code occurs: categories are shared by many rows."""
    all_differ = codes.distinct == codes.count >= LEAST_ROWS
    return all_differ or not codes.is_complete or codes.distinct > max(MOST_WORDS, codes.count / 2)


def _is_number(word: str) -> bool:
    try:
        float(re.sub(r"[,$%€£ ]", "", word))
    except ValueError:
        return False
    return True
