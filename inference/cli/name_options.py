"""Names given on the command line: look them up, split a list of them, list the possible ones in an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

ARGUMENTS = frozenset(  # of functions and constructors, which an option of the same name sets
    (
        "batch_size", "components", "covariance", "device", "folds", "hidden", "latent", "learning_rate", "least_rows",
        "max_passes", "prior", "restarts", "seed", "variance_floor",
    )
)  # fmt: skip


def look_up(name: str, table: Mapping[str, Any], option: str) -> Any:
    """The entry of a table under this name. Raises ValueError, listing the names of the table, if there is none."""
    if name not in table:
        raise ValueError(f"{option} is {name!r}, expected one of {', '.join(table)}")
    return table[name]


def split_names(names: str, table: Mapping[str, Any], option: str) -> list[str]:
    """Split names at commas. Raises ValueError for a name that is not in the table or is given twice."""
    each = [name.strip() for name in names.split(",")]
    for name in each:
        look_up(name, table, option)
    if len(set(each)) < len(each):
        raise ValueError(f"{option} is {names!r}, expected each name once")
    return each


def with_option_names(message: str) -> str:
    """An error that begins with the name of an argument, with the option that sets it in its place.

    "learning_rate is -1, expected ..." becomes "--learning-rate is -1, expected ...".
    """
    found = re.match(r"(\w+)(\[\d+\])?(?= is )", message)
    if found is None or found[1] not in ARGUMENTS:
        return message
    return f"--{found[1].replace('_', '-')}{message[found.end() :]}"


def join_with_or(names: Iterable[str]) -> str:
    """Write names as a list in a sentence: "a, b or c"."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def parse_kinds(text: str | None) -> dict[str, str] | None:
    """The kinds of columns in a text such as grams=gaussian,id=drop. Raises ValueError for any other text."""
    if text is None:
        return None
    pairs = [part.rpartition("=") for part in text.split(",")]
    kinds = {name.strip(): kind.strip() for name, _, kind in pairs}
    if not all(name and kind for name, kind in kinds.items()) or len(kinds) < len(pairs):
        raise ValueError(f"--kinds is {text!r}, expected columns and what they hold, such as grams=gaussian,id=drop")
    return kinds


def parse_header(text: str | None) -> bool | None:
    """True for yes, False for no, None for neither. Raises ValueError for any other text."""
    return None if text is None else look_up(text, {"yes": True, "no": False}, "--header")
