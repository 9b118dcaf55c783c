"""How the figures look: colours that colour-blind readers tell apart, never without a second sign."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Okabe & Ito (2008), Color Universal Design
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
DASHES = ("solid", (0, (4, 3)), (0, (1, 2)), (0, (6, 2, 1, 2)))  # the later over the earlier, which shows between
MARKERS = ("o", "X", "s", "D", "^", "v", "P", "*")
GREY = "#8a8a8a"


@dataclass(frozen=True)
class FitStyle:
    """How one fit is drawn in every figure."""

    color: str
    dash: Any
    width: float
    marker: str


def fit_style(i: int, of: int) -> FitStyle:
    """The line of fit i of `of`: each thinner than the one it may lie upon."""
    return FitStyle(COLOURS[i % 8], DASHES[i % 4], 4.0 - 2.2 * i / max(of - 1, 1), MARKERS[i % 8])


def blank_figure(width: float, height: float) -> Figure:
    """A white figure of so many inches, outside pyplot's state, in which nothing is cut off."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def despine(axes: Axes) -> Axes:
    """Fewer lines: no frame above and on the right."""
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def mark_half_missing_rows(axes: Axes, x: np.ndarray, colors: Any = GREY, **style: Any) -> int:
    """Rows (n, 2) of which one cell is missing, as ticks on the axis of the other; how many these are."""
    gone = np.isnan(x)
    for seen, (transform, marker) in enumerate(((axes.get_xaxis_transform(), "|"), (axes.get_yaxis_transform(), "_"))):
        mine = ~gone[:, seen] & gone[:, 1 - seen]
        at = [x[mine, seen], np.zeros(mine.sum())]
        own = colors if isinstance(colors, str) else colors[mine]
        axes.scatter(
            at[seen], at[1 - seen], s=90, c=own, marker=marker, transform=transform, clip_on=False, zorder=5, **style
        )
    return int((gone.sum(1) == 1).sum())


def set_title_and_caption(figure: Figure, takeaway: str, reading: str) -> Figure:
    """The takeaway as the figure's title, and how to read it as its label, for the caption below."""
    width = int(7.5 * figure.get_figwidth())  # characters that fit, at this size
    figure.suptitle(textwrap.fill(takeaway, width), fontsize=13, fontweight="bold")
    figure.set_label(reading)
    return figure


def join_names(names: Sequence[str], of: int) -> str:
    """em; em and svi; em, svi and vae; or how many fits of all these are."""
    if len(names) > 3:
        return f"{'All' if len(names) == of else f'{len(names)} of'} {of} fits"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def component_label(j: int, shares: Sequence[float]) -> str:
    """1 (44 %): the number of component j in the tables, and its share of the rows."""
    return f"{j + 1} ({100 * shares[j]:.0f} %)" if shares else str(j + 1)
