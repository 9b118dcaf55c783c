"""What each column of a table holds, as far as its values say, and what the user says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .column_kinds import DROP, FAMILIES, ColumnKind, ColumnKinds
from .column_values import ColumnValues
from .kinds_of_numbers import MOST_LEVELS, as_categories, kind_of_numbers
from .kinds_of_words import kind_of_words, words_of_columns
from .rows import Rows
from .schema import Schema, numbers_in

ASKED = "as asked for"


def kinds_by_values(rows: Rows, chosen: Mapping[str, Any] | None = None) -> ColumnKinds:
    """What each column holds, as far as its own values say; "count" where this depends on the components.

    Args:
        rows: The table. Its columns may hold words, dates and missing values.
        chosen: The kinds of some columns by name: a family, "drop", or the names of the levels of a category.

    Raises:
        ValueError: There is no such column or kind, or no column is left.
        TypeError: A column holds numbers as Python objects, or chosen is no mapping of names to such kinds.
    """
    chosen = _checked(chosen, rows.columns)
    words = words_of_columns(rows, {name for name, kind in chosen.items() if kind == DROP})
    readable = {name: own for name, own in zip(rows.columns, words, strict=True) if not isinstance(own, str)}
    if len(readable) < sum(not isinstance(own, str) for own in words):
        raise ValueError("two columns have one name, expected each name once: rename one of them")
    schema = Schema(tuple(readable), tuple(None if own is None else tuple(own) for own in readable.values()))
    values = dict(zip(readable, rows.with_schema(schema).column_values, strict=True)) if readable else {}
    unfit = {name: own for name, own in zip(rows.columns, words, strict=True) if isinstance(own, str)}
    if asked := [name for name in chosen if name in unfit and chosen[name] != DROP]:
        raise ValueError(
            f"kinds asks for {chosen[asked[0]]!r} in column {asked[0]!r}, which has {unfit[asked[0]]}, expected "
            "numbers or words: convert the column, such as dates to days, or leave it out"
        )
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


def _checked(chosen: Any, columns: Sequence[str]) -> dict[str, str | list[Any]]:
    """What the user says of columns, by their names: a kind, or the levels of a category."""
    if not isinstance(chosen, Mapping | None):
        raise TypeError(
            f'kinds is a {type(chosen).__name__}, expected a dict of columns and what they hold, such as {{"grams": '
            '"gaussian"}, or what column_kinds returns'
        )
    found: dict[str, str | list[Any]] = {}
    for name, kind in (chosen or {}).items():
        if str(name) not in columns:
            raise ValueError(f"kinds has a column {str(name)!r}, expected some of {', '.join(columns)}")
        if isinstance(kind, str | bytes) or not isinstance(kind, Iterable):
            if kind not in (*FAMILIES, DROP):
                raise (ValueError if isinstance(kind, str) else TypeError)(
                    f"the kind of column {str(name)!r} is {kind!r}, expected one of {', '.join(FAMILIES)} or {DROP}, "
                    "or a list of the levels of a category"
                )
            found[str(name)] = str(kind)
        else:
            found[str(name)] = list(getattr(kind, "tolist", lambda kind=kind: kind)())
    return found


def _as_chosen(name: str, kind: Any, values: ColumnValues, words: Sequence[str] | None) -> ColumnKind:
    """The kind that the user says."""
    used = values.names if words is None else tuple(words[int(code)] for code in values.values)
    if not isinstance(kind, str):
        return ColumnKind(name, "categorical", ASKED, _levels(name, kind, used, words is None))
    if kind == "categorical":
        if len(used) > MOST_LEVELS or not values.is_complete:
            raise ValueError(f"column {name!r} holds more than {MOST_LEVELS} different values, too many for categories")
        return as_categories(name, values) if words is None else ColumnKind(name, kind, ASKED, used)
    if words is not None and not (kind == "bernoulli" and len(used) == 2):
        raise ValueError(f"column {name!r} holds words, such as {words[0]!r}, expected numbers for the kind {kind!r}")
    return ColumnKind(name, kind, ASKED, None if words is None else used)


def _levels(name: str, levels: list[Any], used: Sequence[str], are_numbers: bool) -> tuple[str, ...]:
    """The names of the levels that the user gives. Of a column of numbers they are numbers, written as its own are."""
    given = tuple(map(str, levels))
    if are_numbers:
        numbers, own = numbers_in(given), dict(zip(map(float, used), used, strict=True))
        if numbers is None:
            raise ValueError(f"column {name!r} holds numbers, expected numbers as its levels, got {', '.join(given)}")
        whole = all(word.lstrip("-").isdigit() for word in used)
        plain = (str(int(v)) if whole and v.is_integer() else repr(v) for v in numbers.tolist())
        given = tuple(own.get(float(word), word) for word in plain)
    if not given or len(set(given)) < len(given):
        raise ValueError(f"the levels of column {name!r} are {', '.join(given) or 'none'}, expected each level once")
    if unknown := [word for word in used if word not in given]:
        raise ValueError(f"column {name!r} holds {unknown[0]!r}, expected one of its levels {', '.join(given)}")
    return given
