"""The criteria of a selection as distances from the best, against the number of components or by candidate."""

from __future__ import annotations

import re
import textwrap

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...criticism.selection import CRITERIA, Selection
from .selection_panel import draw_panel
from .style import GREY, FitStyle, blank_figure, fit_style, set_title_and_caption

NUMBERED = re.compile(r"^(.*?)[\s,;:]*\bK ?= ?(\d+)$")
CAPTION = (
    "0 is the best candidate of each panel, marked with a star; larger is worse. Bars are plus and minus one standard "
    "error, over rows, of the difference from the best."
)


def selection_figure(selection: Selection, criterion: str | None = None) -> Figure:
    """One panel for each criterion, such as BIC, ICL and rows held out; or for one criterion.

    If all names end in K=1, K=2, ..., the distances are lines against K; else each candidate has a line of its own.
    Degenerate candidates are crosses. Raises ValueError if no candidate has a score by the criterion.
    """
    if criterion is not None:
        selection.best(criterion)  # raises for a criterion without a score
    winners = selection.winners() if criterion is None else {criterion: selection.best(criterion)}
    if not winners:
        selection.best()  # raises with the reasons
    names = [str(name) for name in selection.frame().index]
    found = [NUMBERED.match(name) for name in names]
    groups: dict[str, list[tuple[float, str]]] = {}
    numbered = all(found)
    for i, (name, match) in enumerate(zip(names, found, strict=True)):
        group, position = (match[1], float(match[2])) if numbered and match else ("", float(i))
        groups.setdefault(group, []).append((position, name))
    height = 4.4 if numbered else 1.8 + 0.32 * len(names)
    figure = blank_figure(1.5 + 4.2 * len(winners), height)
    panels = figure.subplots(1, len(winners), squeeze=False, sharey=not numbered)[0]
    beyond = False
    for axes, (key, best) in zip(panels, winners.items(), strict=True):
        beyond |= draw_panel(axes, selection, key, best, groups, numbered)
    if not numbered:
        panels[0].set_yticks(range(len(names)), [textwrap.shorten(name, 48) for name in names])
        panels[0].set_ylim(len(names) - 0.5, -0.5)
    handles = _legend_handles(selection, groups, beyond, numbered)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5), frameon=False)
    return set_title_and_caption(figure, _title(winners), CAPTION + _reasons(selection))


def _legend_handles(
    selection: Selection, groups: dict[str, list[tuple[float, str]]], beyond: bool, numbered: bool
) -> list[Line2D]:
    """The legend of the lines and markers that are drawn. beyond: whether some candidate is beyond an axis."""

    def entry(style: FitStyle, marker: str, label: str, **options) -> Line2D:
        return Line2D([], [], color=style.color, linestyle="none", marker=marker, label=label, **options)

    handles = []
    if len(groups) > 1:
        for i, group in enumerate(groups):
            style = fit_style(i, len(groups))
            handles.append(
                Line2D([], [], color=style.color, linestyle=style.dash, marker=style.marker, label=group or "others")
            )
    grey = FitStyle(GREY, "solid", 1.0, "o")
    if beyond:
        handles.append(entry(grey, "^" if numbered else ">", "triangle: beyond the axis"))
    if selection.doubtful():
        handles.append(entry(grey, "o", "hollow: best optimum found once", markerfacecolor="white"))
    if selection.degenerate:
        label = "cross: degenerate (collapsed)" + (" or impossible" if selection.impossible else "")
        handles.append(entry(grey, "x", label, markeredgewidth=2.5))
    return handles


def _title(winners: dict[str, str]) -> str:
    """The best candidates, each with its criteria."""
    by: dict[str, list[str]] = {}
    for criterion, name in winners.items():
        by.setdefault(name, []).append("rows held out" if criterion == "held_out" else CRITERIA[criterion])
    sentences = [f"{textwrap.shorten(name, 48)} by {' and '.join(criteria)}" for name, criteria in by.items()]
    return f"Best: {'; '.join(sentences)}"


def _reasons(selection: Selection) -> str:
    """Why candidates are degenerate, for the caption."""
    return "".join(f" {name}: {reason}." for name, reason in selection.degenerate.items())
