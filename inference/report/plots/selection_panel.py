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
) -> bool:
    """Draw the distance of each candidate from the best by one criterion. Whether some are beyond the axis.

    groups: the (position, name) of the candidates of each line. numbered: whether positions are numbers of components;
    distances are then up, else to the right.
    """
    distance, error = _distances(selection, criterion, best)
    top = _axis_end(distance, groups)
    doubtful, beyond = set(selection.doubtful()), False
    for i, members in enumerate(groups.values()):
        style = fit_style(i, len(groups))
        members = sorted(members)
        shift = 0.1 * (i / max(len(groups) - 1, 1) - 0.5) if len(groups) > 1 else 0.0  # so that marks are side by side
        positions = np.array([position + shift for position, _ in members])
        values = np.array([distance[name] for _, name in members])
        usable = np.array([name not in selection.degenerate and np.isfinite(distance[name]) for _, name in members])
        if numbered:
            axes.plot(
                positions[usable], values[usable], color=style.color, linestyle=style.dash, linewidth=1.5, zorder=2
            )
        for position, (_, name), value in zip(positions, members, values, strict=True):
            if name in selection.degenerate:  # a cross at its distance, or at the edge if it has none
                at = (position, min(value, top) if np.isfinite(value) else top)
                _draw_mark(
                    axes, at, numbered, marker="x", markersize=9, markeredgewidth=2.5, color=style.color, zorder=5
                )
                continue
            if value > top:
                beyond = True  # a triangle at the edge that points to it
                _draw_mark(
                    axes, (position, top), numbered, marker="^" if numbered else ">", markersize=5, color=style.color
                )
                continue
            if criterion == "held_out" and error[name] > 0:
                point = (position, value) if numbered else (value, position)
                bars = (error[name], None) if numbered else (None, error[name])
                axes.errorbar(*point, *bars, color=style.color, linewidth=1.2, capsize=3, zorder=2)
            at = (position, value)
            face = "white" if name in doubtful else style.color
            _draw_mark(axes, at, numbered, marker=style.marker, markersize=7, color=style.color, markerfacecolor=face)
            if name == best:
                star = {"markersize": 19, "color": "#FFD23F", "markeredgecolor": "black", "markeredgewidth": 1.2}
                _draw_mark(axes, at, numbered, marker="*", **star, zorder=6, clip_on=False)
    despine(axes).set_title(f"{TITLES[criterion]}: {textwrap.shorten(best, 32)}", fontsize=11)
    if numbered:
        axes.set(xlabel="components K", ylabel=LABELS[criterion], ylim=(-0.05 * top, 1.05 * top))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set(xlabel=LABELS[criterion], xlim=(-0.05 * top, 1.05 * top))
    axes.grid(axis="y" if numbered else "both", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    return beyond


def _draw_mark(axes: Axes, at: tuple[float, float], numbered: bool, zorder: float = 4, **style) -> None:
    """Draw one mark at (position, distance), the distance up if numbered, else to the right."""
    position, distance = at
    axes.plot(*((position, distance) if numbered else (distance, position)), linestyle="none", zorder=zorder, **style)


def _distances(selection: Selection, criterion: str, best: str) -> tuple[dict[str, float], dict[str, float]]:
    """The distance of each candidate from the best, and its standard error (0 for a criterion without one), by name."""
    lines = selection.frame().to_dict("index")
    if criterion == "held_out":
        pairs = {str(name): (line["behind"], line["behind_error"]) for name, line in lines.items()}
    else:
        sign = 1 if criterion in LOWER else -1
        pairs = {str(name): (sign * (line[criterion] - lines[best][criterion]), 0.0) for name, line in lines.items()}
    return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}


def _axis_end(distance: dict[str, float], groups: dict[str, list[tuple[float, str]]]) -> float:
    """The end of the axis, which contains the best of each line and 60 % of all candidates, but none far off."""
    finite = {name: abs(value) for name, value in distance.items() if np.isfinite(value)}
    lows = [min((finite[name] for _, name in members if name in finite), default=0.0) for members in groups.values()]
    return 1.25 * max(float(np.quantile(list(finite.values()), 0.6)), *lows, 1e-3)
