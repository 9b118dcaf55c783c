"""Names given on the command line: look them up, split a list of them, list the possible ones in an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import click


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
    """An error that begins with the name of an argument, with the option of the present command in its place.

    "learning_rate is -1, expected ..." becomes "--learning-rate is -1, expected ...".
    """
    context = click.get_current_context(silent=True)
    options = {each.name: max(each.opts, key=len) for each in context.command.params} if context else {}
    found = re.match(r"(\w+)(\[\d+\])?(?= (is|has|are|got) )", message)
    option = options.get(found[1], "") if found else ""
    return f"{option}{message[found.end() :]}" if found and option.startswith("--") else message


def join_with_or(names: Iterable[str]) -> str:
    """Write names as a list in a sentence: "a, b or c"."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
