"""The criteria of a selection, as distances from the best: against the number of components, or by candidate."""

from __future__ import annotations

import re
import textwrap

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...criticism.selection import CRITERIA, Selection
from .selection_panel import draw_panel
from .style import GREY, FitStyle, blank_figure, fit_style, set_title_and_caption

NUMBERED = re.compile(r"^(.*?)[\s,;:]*\bK ?= ?(\d+)$")


READING = (
    "0, at the bottom, is the best candidate of each panel, marked with a star; the higher, the worse. Bars: plus and "
    "minus one standard error of the difference from the best, over rows. Triangles at the edge are candidates far off."
)


def selection_figure(selection: Selection, criterion: str | None = None) -> Figure:
    """One panel for each criterion: BIC, ICL, rows held out; lines against K where all names end in K=1, K=2, ..., else
    a line of its own for each candidate. Degenerate ones are crosses."""
    if criterion is not None:
        selection.best(criterion)  # raises for what there is not
    winners = selection.winners() if criterion is None else {criterion: selection.best(criterion)}
    if not winners:
        selection.best()  # raises, with the reasons
    names = [str(name) for name in selection.frame().index]
    found = [NUMBERED.match(name) for name in names]
    groups: dict[str, list[tuple[float, str]]] = {}
    numbered = all(found)
    for i, (name, match) in enumerate(zip(names, found, strict=True)):
        group, place = (match[1], float(match[2])) if numbered and match else ("", float(i))
        groups.setdefault(group, []).append((place, name))
    height = 4.4 if numbered else 1.8 + 0.32 * len(names)
    figure = blank_figure(1.5 + 4.2 * len(winners), height)
    panels = figure.subplots(1, len(winners), squeeze=False, sharey=not numbered)[0]
    for axes, (key, best) in zip(panels, winners.items(), strict=True):
        draw_panel(axes, selection, key, best, groups, numbered)
    if not numbered:
        panels[0].set_yticks(range(len(names)), [textwrap.shorten(name, 48) for name in names])
        panels[0].set_ylim(len(names) - 0.5, -0.5)
    handles = _legend_handles(selection, groups)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5), frameon=False)
    return set_title_and_caption(figure, _takeaway(winners), READING + _reasons(selection))


def _legend_handles(selection: Selection, groups: dict[str, list[tuple[float, str]]]) -> list[Line2D]:
    """What the lines and signs are, those that there are."""

    def sign(style: FitStyle, marker: str, label: str, **look) -> Line2D:
        return Line2D([], [], color=style.color, linestyle="none", marker=marker, label=label, **look)

    handles = []
    if len(groups) > 1:
        for i, group in enumerate(groups):
            style = fit_style(i, len(groups))
            handles.append(
                Line2D([], [], color=style.color, linestyle=style.dash, marker=style.marker, label=group or "others")
            )
    grey = FitStyle(GREY, "solid", 1.0, "o")
    if selection.doubtful():
        handles.append(sign(grey, "o", "hollow: best optimum found once", markerfacecolor="white"))
    if selection.degenerate:
        handles.append(sign(grey, "x", "cross: degenerate (collapsed)", markeredgewidth=2.5))
    return handles


def _takeaway(winners: dict[str, str]) -> str:
    by: dict[str, list[str]] = {}
    for criterion, name in winners.items():
        by.setdefault(name, []).append("rows held out" if criterion == "held_out" else CRITERIA[criterion])
    said = [f"{textwrap.shorten(name, 48)} by {' and '.join(criteria)}" for name, criteria in by.items()]
    return f"Best: {'; '.join(said)}"


def _reasons(selection: Selection) -> str:
    """What became of the degenerate ones, for the caption."""
    return "".join(f" {name}: {reason}." for name, reason in selection.degenerate.items())
