"""One panel of a selection figure: distances from the best candidate by one criterion."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ...criticism.selection import LOWER, Selection
from .style import despine, fit_style

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


def draw_panel(
    axes: Axes,
    selection: Selection,
    criterion: str,
    best: str,
    groups: dict[str, list[tuple[float, str]]],
    numbered: bool,
) -> None:
    """Distances from the best of one criterion, up (numbered) or to the right."""
    distance, error = _distances(selection, criterion, best)
    top = _axis_end(distance, groups)
    doubtful = set(selection.doubtful())
    for i, members in enumerate(groups.values()):
        style = fit_style(i, len(groups))
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
                _draw_mark(
                    axes, at, numbered, marker="x", markersize=9, markeredgewidth=2.5, color=style.color, zorder=5
                )
                continue
            if value > top:  # far off: an arrow that points there
                _draw_mark(
                    axes, (place, top), numbered, marker="^" if numbered else ">", markersize=5, color=style.color
                )
                continue
            if criterion == "held_out" and error[name] > 0:
                where = (place, value) if numbered else (value, place)
                bars = (error[name], None) if numbered else (None, error[name])
                axes.errorbar(*where, *bars, color=style.color, linewidth=1.2, capsize=3, zorder=2)
            at = (place, value)
            face = "white" if name in doubtful else style.color
            _draw_mark(axes, at, numbered, marker=style.marker, markersize=7, color=style.color, markerfacecolor=face)
            if name == best:
                look = {"markersize": 19, "color": "#FFD23F", "markeredgecolor": "black", "markeredgewidth": 1.2}
                _draw_mark(axes, at, numbered, marker="*", **look, zorder=6, clip_on=False)
    despine(axes).set_title(f"{TITLES[criterion]}: {textwrap.shorten(best, 32)}", fontsize=11)
    if numbered:
        axes.set(xlabel="components K", ylabel=LABELS[criterion], ylim=(-0.05 * top, 1.05 * top))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set(xlabel=LABELS[criterion], xlim=(-0.05 * top, 1.05 * top))
    axes.grid(axis="y" if numbered else "both", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def _draw_mark(axes: Axes, at: tuple[float, float], numbered: bool, zorder: float = 4, **look) -> None:
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


def _axis_end(distance: dict[str, float], groups: dict[str, list[tuple[float, str]]]) -> float:
    """The end of the axis: the best of each line is seen, and more than half of all candidates; not those far off."""
    finite = {name: abs(value) for name, value in distance.items() if np.isfinite(value)}
    lows = [min((finite[name] for _, name in members if name in finite), default=0.0) for members in groups.values()]
    return 1.25 * max(float(np.quantile(list(finite.values()), 0.6)), *lows, 1e-3)
