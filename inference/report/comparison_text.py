"""A comparison in plain text: the table of scores, and the tables of components."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..criticism.aligned_components import component_tables
from ..criticism.comparison import Comparison
from .format_components import format_components
from .score_table import DISTANCES, has_unmatched, pair_lines, score_lines
from .summary_lines import data_summary, restart_count, restarts_summary
from .text_table import WIDTH, markdown_table, named_lines, split_columns

MOST_NUMBERS = 12  # of a component
UNRELIABLE = 0.7  # Pareto k above which an estimate by importance weighting is not reliable

SPURIOUS = "Perhaps a spurious optimum: try least_rows, more restarts, or a prior"
UNMATCHED = "Fits have no distance if their components cannot be matched one to one."


def comparison_text(comparison: Comparison) -> str:
    """What `print(comparison)` shows: the scores of each fit, why each stopped, and the distances between them."""
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
        parts.append(f"Pareto k above {UNRELIABLE}: the log evidence of {', '.join(doubtful)} is not reliable.")
    parts.append(named_lines("Why each stopped", {name: fit.reason for name, fit in comparison.fits.items()}))
    if any(restart_count(fit) > 1 for fit in comparison.fits.values()):
        found = {name: restarts_summary(fit) for name, fit in comparison.fits.items()}
        parts.append(named_lines("How often each optimum was found", found))
    doubts = {name: "; ".join(fit.doubts) for name, fit in comparison.fits.items() if fit.doubts}
    if doubts:
        parts.append(named_lines(SPURIOUS, doubts))
    between = pair_lines(comparison)
    if between:
        parts.append(markdown_table(["between fits", *(title for _, title, _ in DISTANCES)], between))
    if has_unmatched(comparison):
        parts.append(UNMATCHED)
    return "\n\n".join(part for part in parts if part)


def components_text(comparison: Comparison, rest: str) -> str:
    """The components of each fit with their first numbers; `rest` says where the other numbers are."""
    parts = []
    for table in component_tables(comparison):
        header, lines, left = format_components(table, WIDTH, MOST_NUMBERS)
        widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
        for block in split_columns(widths):
            wanted = [0, *block]
            parts.append(markdown_table([header[i] for i in wanted], [[line[i] for i in wanted] for line in lines]))
        if left:
            parts.append(omitted_note(left, rest))
    return "\n\n".join(parts)


def omitted_note(count: int, rest: str) -> str:
    """The sentence about the numbers that a table leaves out."""
    return f"{count} more numbers of each component: {rest}."


def _split_fits(lines: Sequence[Sequence[str]], names: Sequence[str]) -> list[list[str]]:
    """Group the fits so that the columns of each group fit beside each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths = [widths[0], *(max(width, len(name)) for name, width in zip(names, widths[1:], strict=True))]
    return [[names[i - 1] for i in group] for group in split_columns(widths)]
