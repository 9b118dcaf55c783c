"""The criteria of a selection, as distances from the best: against the number of components, or by candidate."""

from __future__ import annotations

import re
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ...criticism.selection import CRITERIA, LOWER, Selection
from .style import GREY, Line, blank, describe, line, tidy

NUMBERED = re.compile(r"^(.*?)[\s,;:]*\bK ?= ?(\d+)$")
LABELS = {
    "bic": "BIC above the lowest",
    "icl": "ICL above the lowest",
    "aic": "AIC above the lowest",
    "bound": "nats below the highest",
    "held_out": "nats per row below the best",
}
TITLES = {
    "bic": "lowest BIC",
    "icl": "lowest ICL",
    "aic": "lowest AIC",
    "bound": "highest bound",
    "held_out": "best on rows held out",
}
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
    figure = blank(1.5 + 4.2 * len(winners), height)
    panels = figure.subplots(1, len(winners), squeeze=False, sharey=not numbered)[0]
    for axes, (key, best) in zip(panels, winners.items(), strict=True):
        _panel(axes, selection, key, best, groups, numbered)
    if not numbered:
        panels[0].set_yticks(range(len(names)), [textwrap.shorten(name, 48) for name in names])
        panels[0].set_ylim(len(names) - 0.5, -0.5)
    handles = _key(selection, groups)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5), frameon=False)
    return describe(figure, _takeaway(winners), READING + _reasons(selection))


def _panel(
    axes: Axes,
    selection: Selection,
    criterion: str,
    best: str,
    groups: dict[str, list[tuple[float, str]]],
    numbered: bool,
) -> None:
    """Distances from the best of one criterion, up (numbered) or to the right."""
    distance, error = _distances(selection, criterion, best)
    top = _top(distance, groups)
    doubtful = set(selection.doubtful())
    for i, members in enumerate(groups.values()):
        style = line(i, len(groups))
        members = sorted(members)
        shift = 0.1 * (i / max(len(groups) - 1, 1) - 0.5) if len(groups) > 1 else 0.0  # marks side by side
        places = np.array([place + shift for place, _ in members])
        values = np.array([distance[name] for _, name in members])
        sound = np.array([name not in selection.degenerate and np.isfinite(distance[name]) for _, name in members])
        if numbered:
            axes.plot(places[sound], values[sound], color=style.color, linestyle=style.dash, linewidth=1.5, zorder=2)
        for place, (_, name), value in zip(places, members, values, strict=True):
            if name in selection.degenerate:  # where it would be, or at the edge if it has no number
                at = (place, min(value, top) if np.isfinite(value) else top)
                _mark(axes, at, numbered, marker="x", markersize=9, markeredgewidth=2.5, color=style.color, zorder=5)
                continue
            if value > top:  # far off: an arrow that points there
                _mark(axes, (place, top), numbered, marker="^" if numbered else ">", markersize=5, color=style.color)
                continue
            if criterion == "held_out" and error[name] > 0:
                where = (place, value) if numbered else (value, place)
                bars = (error[name], None) if numbered else (None, error[name])
                axes.errorbar(*where, *bars, color=style.color, linewidth=1.2, capsize=3, zorder=2)
            at = (place, value)
            face = "white" if name in doubtful else style.color
            _mark(axes, at, numbered, marker=style.marker, markersize=7, color=style.color, markerfacecolor=face)
            if name == best:
                look = {"markersize": 19, "color": "#FFD23F", "markeredgecolor": "black", "markeredgewidth": 1.2}
                _mark(axes, at, numbered, marker="*", **look, zorder=6, clip_on=False)
    tidy(axes).set_title(f"{TITLES[criterion]}: {textwrap.shorten(best, 32)}", fontsize=11)
    if numbered:
        axes.set(xlabel="components K", ylabel=LABELS[criterion], ylim=(-0.05 * top, 1.05 * top))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set(xlabel=LABELS[criterion], xlim=(-0.05 * top, 1.05 * top))
    axes.grid(axis="y" if numbered else "both", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def _mark(axes: Axes, at: tuple[float, float], numbered: bool, zorder: float = 4, **look) -> None:
    place, value = at
    axes.plot(*((place, value) if numbered else (value, place)), linestyle="none", zorder=zorder, **look)


def _distances(selection: Selection, criterion: str, best: str) -> tuple[dict[str, float], dict[str, float]]:
    """How far each candidate is behind the best, and the error of this difference, 0 for a criterion without one."""
    lines = selection.frame().to_dict("index")
    if criterion == "held_out":
        pairs = {str(name): (line["behind"], line["behind_error"]) for name, line in lines.items()}
    else:
        up = 1 if criterion in LOWER else -1
        pairs = {str(name): (up * (line[criterion] - lines[best][criterion]), 0.0) for name, line in lines.items()}
    return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}


def _top(distance: dict[str, float], groups: dict[str, list[tuple[float, str]]]) -> float:
    """The end of the axis: the best of each line is seen, and more than half of all candidates; not those far off."""
    finite = {name: abs(value) for name, value in distance.items() if np.isfinite(value)}
    lows = [min((finite[name] for _, name in members if name in finite), default=0.0) for members in groups.values()]
    return 1.25 * max(float(np.quantile(list(finite.values()), 0.6)), *lows, 1e-3)


def _key(selection: Selection, groups: dict[str, list[tuple[float, str]]]) -> list[Line2D]:
    """What the lines and signs are, those that there are."""

    def sign(style: Line, marker: str, label: str, **look) -> Line2D:
        return Line2D([], [], color=style.color, linestyle="none", marker=marker, label=label, **look)

    handles = []
    if len(groups) > 1:
        for i, group in enumerate(groups):
            style = line(i, len(groups))
            handles.append(
                Line2D([], [], color=style.color, linestyle=style.dash, marker=style.marker, label=group or "others")
            )
    grey = Line(GREY, "solid", 1.0, "o")
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
