"""How the figures look: colours that colour-blind readers can distinguish, always with a second sign beside them."""

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
# later fits are drawn over earlier ones, which show in the gaps
DASHES = ("solid", (0, (4, 3)), (0, (1, 2)), (0, (6, 2, 1, 2)))
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
    """The style of fit i of `of`: each line is thinner than those it may cover."""
    return FitStyle(COLOURS[i % 8], DASHES[i % 4], 4.0 - 2.2 * i / max(of - 1, 1), MARKERS[i % 8])


def blank_figure(width: float, height: float) -> Figure:
    """A white figure of so many inches, outside the state of pyplot, in which no text is cut off."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def despine(axes: Axes) -> Axes:
    """Remove the frame on top and on the right."""
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def mark_half_missing_rows(axes: Axes, x: np.ndarray, colors: Any = GREY, **style: Any) -> int:
    """Draw rows (n, 2) with one missing value as ticks on the axis of the observed value. Returns their number."""
    missing = np.isnan(x)
    for observed, (transform, marker) in enumerate(
        ((axes.get_xaxis_transform(), "|"), (axes.get_yaxis_transform(), "_"))
    ):
        mine = ~missing[:, observed] & missing[:, 1 - observed]
        at = [x[mine, observed], np.zeros(mine.sum())]
        own = colors if isinstance(colors, str) else colors[mine]
        axes.scatter(
            at[observed],
            at[1 - observed],
            s=90,
            c=own,
            marker=marker,
            transform=transform,
            clip_on=False,
            zorder=5,
            **style,
        )
    return int((missing.sum(1) == 1).sum())


def set_title_and_caption(figure: Figure, title: str, caption: str) -> Figure:
    """Set what the figure shows as its title, and how to read it as its label, which reports use as the caption."""
    width = int(7.5 * figure.get_figwidth())  # characters that fit at this font size
    figure.suptitle(textwrap.fill(title, width), fontsize=13, fontweight="bold")
    figure.set_label(caption)
    return figure


def join_names(names: Sequence[str], of: int, capital: bool = True) -> str:
    """Write the names of fits: em; em and svi; em, svi and vae; of more, how many of all fits they are."""
    if len(names) > 3:
        every = "All" if capital else "all"
        return f"{every if len(names) == of else f'{len(names)} of'} {of} fits"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def component_label(j: int, shares: Sequence[float]) -> str:
    """The number of component j in the tables and its share of the rows: 1 (44 %)."""
    return f"{j + 1} ({100 * shares[j]:.0f} %)" if shares else str(j + 1)
