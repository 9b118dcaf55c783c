"""The comparison as a table in plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..criticism.comparison import Comparison
from ..criticism.component_summaries import component_tables, written
from .score_table import DISTANCES, has_unmatched, pair_lines, score_lines
from .summary_lines import data_summary, restart_count, restarts_summary
from .text_table import WIDTH, markdown_table, named_lines, split_columns

MOST = 12  # numbers of a component that a table has here


UNRELIABLE = 0.7  # Pareto k

UNMATCHED = "Fits without components that can be matched, one to one, have no distance."


def comparison_text(comparison: Comparison) -> str:
    """What `print(comparison)` shows: the scores of each fit, why each stopped, and how far apart they are."""
    names = list(comparison.fits)
    parts = [data_summary(comparison)]
    lines, note = score_lines(comparison)
    for block in _split_fits(lines, names):
        wanted = [0, *(1 + names.index(name) for name in block)]
        parts.append(markdown_table(["", *block], [[line[i] for i in wanted] for line in lines]))
    parts.append(note)
    frame = comparison.frame()
    k = frame["pareto_k"].tolist() if "pareto_k" in frame else [math.nan] * len(names)
    doubtful = [name for name, value in zip(names, k, strict=True) if value > UNRELIABLE]
    if doubtful:
        parts.append(f"Pareto k above {UNRELIABLE}: the log evidence of {', '.join(doubtful)} is not to be relied on.")
    parts.append(named_lines("Why each stopped", {name: fit.reason for name, fit in comparison.fits.items()}))
    if any(restart_count(fit) > 1 for fit in comparison.fits.values()):
        parts.append(
            named_lines(
                "How often each optimum was found", {n: restarts_summary(f) for n, f in comparison.fits.items()}
            )
        )
    between = pair_lines(comparison)
    if between:
        parts.append(markdown_table(["between fits", *(title for _, title, _ in DISTANCES)], between))
    if has_unmatched(comparison):
        parts.append(UNMATCHED)
    return "\n\n".join(part for part in parts if part)


def components_text(comparison: Comparison, rest: str) -> str:
    """The components of each fit, the first numbers of each; `rest` says where the others are."""
    parts = []
    for table in component_tables(comparison):
        header, lines, left = written(table, WIDTH, MOST)
        widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
        for block in split_columns(widths):
            wanted = [0, *block]
            parts.append(markdown_table([header[i] for i in wanted], [[line[i] for i in wanted] for line in lines]))
        if left:
            parts.append(omitted_note(left, rest))
    return "\n\n".join(parts)


def omitted_note(count: int, rest: str) -> str:
    """What to say of numbers that a table leaves out."""
    return f"{count} more numbers of each component: {rest}."


def _split_fits(lines: Sequence[Sequence[str]], names: Sequence[str]) -> list[list[str]]:
    """The names of the fits whose columns fit beside each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths = [widths[0], *(max(width, len(name)) for name, width in zip(names, widths[1:], strict=True))]
    return [[names[i - 1] for i in run] for run in split_columns(widths)]
