"""What each column of a table holds, as far as its values say, and what the user says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .column_kinds import DROP, FAMILIES, ColumnKind, ColumnKinds
from .column_values import ColumnValues, column_values
from .kinds_of_numbers import MOST_LEVELS, as_categories, kind_of_numbers, measurements
from .kinds_of_words import kind_of_words, words_of_columns
from .rows import Rows
from .schema import Schema

ASKED = "as asked for"


def kinds_by_values(rows: Rows, chosen: Mapping[str, Any] | None = None) -> ColumnKinds:
    """What each column holds, as far as its own values say; "count" where this depends on the components.

    Args:
        rows: The table. Its columns may hold words, dates and missing values.
        chosen: The kinds of some columns by name: a family, "drop", or the names of the levels of a category.

    Raises:
        ValueError: There is no such column or kind, or no column is left.
        TypeError: A column holds numbers as Python objects.
    """
    chosen = {str(name): kind for name, kind in (chosen or {}).items()}
    _require_known(chosen, rows.columns)
    words = words_of_columns(rows, {name for name, kind in chosen.items() if kind == DROP})
    readable = {name: own for name, own in zip(rows.columns, words, strict=True) if not isinstance(own, str)}
    if len(readable) < sum(not isinstance(own, str) for own in words):
        raise ValueError("two columns have one name, expected each name once: rename one of them")
    schema = Schema(tuple(readable), tuple(None if own is None else tuple(own) for own in readable.values()))
    values = dict(zip(readable, column_values(rows.with_schema(schema)), strict=True)) if readable else {}
    kinds = ColumnKinds(
        ColumnKind(name, DROP, str(own))
        if name not in values
        else _as_chosen(name, chosen[name], values[name], readable[name])
        if name in chosen
        else kind_of_numbers(name, values[name])
        if readable[name] is None
        else kind_of_words(name, readable[name] or (), values[name])
        for name, own in zip(rows.columns, words, strict=True)
    )
    if not kinds.kept:
        why = "; ".join(f"{each.name} has {each.reason}" for each in kinds[:4])
        raise ValueError(f"no column is left to fit, expected at least one: {why}")
    return kinds


def _require_known(chosen: Mapping[str, Any], columns: Sequence[str]) -> None:
    for name, kind in chosen.items():
        if name not in columns:
            raise ValueError(f"kinds has a column {name!r}, expected some of {', '.join(columns)}")
        if isinstance(kind, str) and kind not in (*FAMILIES, DROP):
            raise ValueError(
                f"the kind of column {name!r} is {kind!r}, expected one of {', '.join(FAMILIES)} or {DROP}, or a list "
                "of the levels of a category"
            )


def _as_chosen(name: str, kind: Any, values: ColumnValues, words: Sequence[str] | None) -> ColumnKind:
    """The kind that the user says."""
    used = values.names if words is None else tuple(words[int(code)] for code in values.values)
    if not isinstance(kind, str):
        levels = tuple(map(str, kind))
        if unknown := [word for word in used if word not in levels]:
            raise ValueError(f"column {name!r} holds {unknown[0]!r}, expected one of its levels {', '.join(levels)}")
        return ColumnKind(name, "categorical", ASKED, levels)
    if kind == "categorical":
        if len(used) > MOST_LEVELS or not values.is_complete:
            raise ValueError(f"column {name!r} holds more than {MOST_LEVELS} different values, too many for categories")
        return as_categories(name, values) if words is None else ColumnKind(name, kind, ASKED, used)
    if words is not None and not (kind == "bernoulli" and len(used) == 2):
        raise ValueError(f"column {name!r} holds words, such as {words[0]!r}, expected numbers for the kind {kind!r}")
    if kind == "gaussian":
        return measurements(name, values, ASKED)
    return ColumnKind(name, kind, ASKED, None if words is None else used)
