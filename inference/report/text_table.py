"""Tables in plain text, no wider than a terminal."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 80  # columns that every terminal has; tables with more fits are split


def format_number(value: Any, form: str) -> str:
    """A number as the tables write it; n/a for what could not be computed, <1e-15 for what is rounding."""
    value = float(value)
    if math.isnan(value):
        return "n/a"
    if form.endswith("g}") and 0 < abs(value) < 1e-15:
        return "<1e-15"
    if form.endswith("g}") and 100 <= abs(value) < math.inf:
        return f"{value:.0f}"
    return form.format(value)


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    table = Table(box=box.MARKDOWN)  # plain characters, which every terminal and every issue shows
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    # markup off: a fit may be called [svi]; colours off and as wide as it needs, whatever the terminal
    console = Console(file=io.StringIO(), width=10_000, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines() if line.strip())


def named_lines(title: str, sentences: dict[str, str]) -> str:
    width = max(map(len, sentences))
    return "\n".join([title, *(f"  {name:<{width}}  {sentence}" for name, sentence in sentences.items())])


def split_columns(widths: Sequence[int]) -> list[list[int]]:
    """Which columns, 1 and on, fit beside column 0 at a time."""
    runs: list[list[int]] = []
    room = 0
    for i, width in enumerate(widths[1:], 1):
        if not runs or width + 3 > room:
            runs.append([])
            room = WIDTH - widths[0] - 4
        runs[-1].append(i)
        room -= width + 3
    return runs
