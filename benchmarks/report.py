"""What a run found: as a table, as JSON, and as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.rows import Row, is_number
from lowerbound.inference.report.plots.style import COLOURS, GREY, blank_figure, despine, set_title_and_caption

ROW_INCHES = 0.24
# Colour and marker of each opponent; others are other ways of ours, or the machine. Vermilion is for missed targets.
SIGNS = {
    "scikit-learn": (COLOURS[0], "o"), "torch by hand": (COLOURS[2], "^"), "pomegranate": (COLOURS[3], "s"),
    "StepMix": (COLOURS[4], "D"), "faiss": (COLOURS[7], "P"), "Pyro's example": (COLOURS[5], "v"),
}  # fmt: skip
OTHER, MISSED = "another way, or the machine", COLOURS[1]


def number(value: float | None) -> str:
    """Three digits."""
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def table(rows: Sequence[Row]) -> tuple[Table, list[str]]:
    """All rows, a rule between two sections, and the notes that they refer to by number."""
    shown = Table(box=SIMPLE_HEAD, title="Ours beside others: medians; ratio = so many times better is ours")
    for name in ("what", "shape", "against", "ours", "theirs", "", "ratio", "least - most", "target", ""):
        right = name in ("ours", "theirs", "ratio", "least - most", "target")
        shown.add_column(name, justify="right" if right else "left", no_wrap=name not in ("what", "against"))
    notes = list(dict.fromkeys(row.note for row in rows if row.note))
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        spread = "" if row.least is None or row.most is None else f"{number(row.least)} - {number(row.most)}"
        what = f"{row.what} [dim]({notes.index(row.note) + 1})[/dim]" if row.note else row.what
        unit = "" if row.ours is None else row.unit
        met = {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}[row.met]
        cells = row.opponent, number(row.ours), number(row.theirs), unit, number(row.ratio), spread, number(row.target)
        shown.add_row(what, row.shape, *cells, met, end_section=after is not None and after.section != row.section)
    return shown, [f"({i}) {note}" for i, note in enumerate(notes, 1)]


def verdict(rows: Sequence[Row]) -> str:
    """How many targets were met, and which were missed."""
    judged = [row for row in rows if row.met is not None]
    missed = [f"{row.what} ({row.shape}, {row.opponent})" for row in judged if not row.met]
    return f"{len(judged) - len(missed)} of {len(judged)} targets met" + (
        f"; missed: {'; '.join(missed)}" if missed else ""
    )


def write(path: Path, about: dict, rows: Sequence[Row], failed: dict[str, str], seconds: float) -> None:
    """One JSON file: machine, versions and date; every row with whether its target was met; what failed."""
    found = [{**asdict(row), "met": row.met} for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"machine": about, "seconds": round(seconds, 1), "rows": found, "failed": failed}
    path.write_text(json.dumps(whole, indent=1) + "\n")


def picture(rows: Sequence[Row], about: dict) -> Figure:
    """A dot for each ratio on a logarithmic axis, the opponents of one case on one line; targets are ticks."""
    drawn = [row for row in rows if is_number(row.ratio)]
    cases = list(dict.fromkeys((row.section, row.what, row.shape) for row in drawn))
    place, y = {}, 0.0
    for i, case in enumerate(cases):
        y += 1.0 if i == 0 or cases[i - 1][0] == case[0] else 1.6  # room between two sections
        place[case] = y
    figure = blank_figure(9.5, 2.0 + ROW_INCHES * y)
    axes = despine(figure.add_subplot())
    for row in drawn:
        at = place[row.section, row.what, row.shape]
        colour, marker = SIGNS.get(_kind(row.opponent), (GREY, "X"))
        if is_number(row.least) and is_number(row.most):
            axes.plot([row.least, row.most], [at, at], color=colour, linewidth=1, alpha=0.5)
        axes.plot(row.ratio, at, marker=marker, color=colour, markersize=6, markeredgecolor="white", linestyle="none")
        if is_number(row.target):
            missed = row.met is False
            axes.plot(
                row.target, at, marker="|", markersize=13, markeredgewidth=2.5 if missed else 1.5, linestyle="none",
                color=MISSED if missed else GREY, zorder=1,
            )  # fmt: skip
    axes.axvline(1, color="black", linewidth=1, zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color="#e6e6e6", zorder=0)
    axes.set_axisbelow(True)
    axes.set_yticks([place[case] for case in cases], [f"{what}, {of}" for _, what, of in cases], fontsize=8)
    axes.set_ylim(y + 0.8, 0.2)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel("times better than the other (right of the line at 1: ours is)")
    kinds = {_kind(row.opponent) for row in drawn}
    shown = [(name, *sign) for name, sign in SIGNS.items() if name in kinds]
    shown += [(OTHER, GREY, "X")] if kinds - SIGNS.keys() else []
    signs = [Line2D([], [], color=c, marker=m, linestyle="none", label=name) for name, c, m in shown]
    ticks = {row.met for row in drawn if is_number(row.target)}
    for met, label, colour, width in ((True, "target, met", GREY, 1.5), (False, "target, missed", MISSED, 2.5)):
        if met not in ticks:
            continue
        signs.append(
            Line2D(
                [], [], color=colour, marker="|", markersize=12, markeredgewidth=width, linestyle="none", label=label
            )
        )
    figure.legend(handles=signs, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    judged = [row.met for row in rows if row.met is not None]
    when = f"{about['processor']}, {about['cores']} cores, {about['date'][:10]}"
    return set_title_and_caption(
        figure,
        f"{sum(judged)} of {len(judged)} targets met: {when}",
        "How many times better ours is than each opponent, in one run: median of neighbours, the thin line from the "
        "least to the most. Ticks are the targets, orange where missed.",
    )


def _kind(opponent: str) -> str:
    """The opponent without its settings."""
    return opponent.split(",")[0]
