"""A selection in plain text: the table of candidates, with the best marked."""

from __future__ import annotations

import math
from typing import Any

from ..criticism.selection import CRITERIA, Selection
from .summary_lines import data_summary
from .text_table import format_number, markdown_table, named_lines, split_columns

# one column of the table each: a column of Selection.frame(), its title, the format of its numbers
COLUMNS = (
    ("log_likelihood", "log-likelihood", "{:.2f}"),
    ("free_parameters", "parameters", "{:.0f}"),
    ("bic", "BIC", "{:.2f}"),
    ("icl", "ICL", "{:.2f}"),
    ("bound", "bound of log evidence", "{:.2f}"),
    ("held_out", "held out, nats per row", "{:.4f}"),
    ("behind", "below the best", "{:.4f}"),
    ("best_found", "best found", "{:.0f}"),
    ("collapsed", "collapsed", "{:.0f}"),
    ("seconds", "seconds", "{:.3g}"),
)
SPURIOUS = "! a component rests on few rows or is thin: the optimum may be spurious (see below)"
DOUBTFUL = "? best optimum found once: more restarts may find a better one"


def selection_text(selection: Selection) -> str:
    """What `print(selection)` shows: the scores of each candidate, the best ones marked, and warnings."""
    frame, winners = selection.frame(), selection.winners()
    doubtful = selection.doubtful()
    spurious = selection.spurious()
    columns = [column for column in COLUMNS if not frame[column[0]].isna().to_numpy().all()]
    if not frame["collapsed"].to_numpy().any():
        columns = [column for column in columns if column[0] != "collapsed"]
    header = ["", *(title for _, title, _ in columns)]
    lines = [
        [name, *(_cell(line, name, column, form, winners, doubtful, spurious) for column, _, form in columns)]
        for name, line in zip(map(str, frame.index), frame.to_dict("records"), strict=True)
    ]
    widths = [max(map(len, cells)) for cells in zip(header, *lines, strict=True)]
    parts = [data_summary(selection)]
    for block in split_columns(widths):
        wanted = [0, *block]
        parts.append(markdown_table([header[i] for i in wanted], [[line[i] for i in wanted] for line in lines]))
    if winners:
        how = {
            "bic": "lowest BIC",
            "icl": "lowest ICL",
            "bound": "highest bound of log evidence",
            "held_out": "highest on rows held out (cross-validation)",
        }
        notes = ["* best: " + ", ".join(how[criterion] for criterion in winners)]
        if doubtful:
            notes.append(DOUBTFUL)
        if spurious:
            notes.append(SPURIOUS)
        parts.append("\n".join(notes))
    if spurious:
        parts.append(named_lines("Perhaps spurious: try least_rows, or a prior", spurious))
    unfinished = [name for name, fit in selection.fits.items() if not fit.converged]
    if unfinished:
        parts.append(f"Stopped before they converged: {', '.join(unfinished)}: raise max_passes.")
    impossible = selection.impossible
    degenerate = {name: why for name, why in selection.degenerate.items() if name not in impossible}
    if degenerate:
        parts.append(named_lines("Degenerate, and never the best", degenerate))
    if impossible:
        parts.append(named_lines("Impossible on these rows", impossible))
    said = [f"{CRITERIA[criterion]}: {name}" for criterion, name in winners.items()]
    parts.append(f"best by {'; '.join(said)}" if said else "no candidate is left to be the best")
    for name, edge in selection.at_edge().items():
        parts[-1] += (
            f"\n{name} is the {edge} that was tried: a {'larger' if edge == 'largest' else 'smaller'} one may be better"
        )
    return "\n\n".join(parts)


def _cell(
    line: dict[Any, Any],
    name: str,
    column: str,
    form: str,
    winners: dict[str, str],
    doubtful: list[str],
    spurious: dict[str, str],
) -> str:
    """One number of the table with its standard error or mark; empty for NaN."""
    value = float(line[column])
    if math.isnan(value):
        return ""
    cell = format_number(value, form)
    error = float(line.get(f"{column}_error", math.nan))
    if column == "best_found":
        marks = [(" ?", doubtful), (" !", spurious)]
        return f"{cell} of {line['restarts']}" + "".join(
            m if name in those else " " * 2 * bool(those) for m, those in marks
        )
    if column == "collapsed":
        return f"{cell} of {line['restarts']}" if value else cell
    if column in ("held_out", "behind") and error > 0:
        cell += f" ± {format_number(error, form)}"
    return f"* {cell}" if winners.get(column) == name else cell
