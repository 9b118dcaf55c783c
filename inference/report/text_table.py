"""Plain text: numbers, tables and named lines, no wider than a terminal."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 80  # characters that every terminal has; wider tables are split


def format_number(value: Any, form: str) -> str:
    """Write a number for a table: n/a for NaN, <1e-15 where only rounding is left."""
    value = float(value)
    if math.isnan(value):
        return "n/a"
    if form.endswith("g}") and 0 < abs(value) < 1e-15:
        return "<1e-15"
    if form.endswith("g}") and 100 <= abs(value) < math.inf:
        return f"{value:.0f}"
    return form.format(value)


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown: the first column to the left, the others to the right."""
    table = Table(box=box.MARKDOWN)  # plain characters, which every terminal shows
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    # markup off because a fit may be named [svi]; no colors and any width, whatever the terminal
    console = Console(file=io.StringIO(), width=10_000, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines() if line.strip())


def named_lines(title: str, sentences: dict[str, str]) -> str:
    """Write a title and below it one sentence for each name, aligned."""
    width = max(map(len, sentences))
    return "\n".join([title, *(f"  {name:<{width}}  {sentence}" for name, sentence in sentences.items())])


def split_columns(widths: Sequence[int]) -> list[list[int]]:
    """Group the columns from 1 on so that each group fits beside column 0 in `WIDTH` characters."""
    groups: list[list[int]] = []
    room = 0
    for i, width in enumerate(widths[1:], 1):
        if not groups or width + 3 > room:
            groups.append([])
            room = WIDTH - widths[0] - 4
        groups[-1].append(i)
        room -= width + 3
    return groups
