"""Probabilities of categories as stacked bars, one bar for each component."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from .style import component_label, despine

LETTER_WIDTH = 0.016  # of the bar's length


def stacked_bars(axes: Axes, panel: Any, shares: Sequence[float]) -> None:
    """Draw one column: bars of length 1 divided among its categories, with their names inside where they fit."""
    k, levels = panel.values.shape
    room = LETTER_WIDTH * 8.5 / axes.get_figure(root=True).get_figwidth() * _figures_side_by_side(axes)  # type: ignore[union-attr]
    floor = np.zeros(k)
    for j in range(levels):
        share = panel.values[:, j]
        color, ink = category_color(j, levels)
        axes.barh(range(k), share, left=floor, height=0.82, color=color, edgecolor="white", label=panel.names[j])
        for i in range(k):
            if share[i] > room * (len(panel.names[j]) + 1.5):
                axes.text(floor[i] + share[i] / 2, i, panel.names[j], ha="center", va="center", color=ink, fontsize=9)
        floor = floor + share
    axes.set_yticks(range(k), [component_label(i, shares) for i in range(k)], fontsize=9)
    axes.set(xlim=(0, 1), ylim=(k - 0.5, -0.5), xticks=[0, 0.5, 1], xticklabels=["0 %", "50 %", "100 %"])
    axes.tick_params(length=0, labelsize=9)
    axes.set_title(panel.kind, loc="left", fontsize=11, fontweight="bold")
    axes.legend(
        loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9, handlelength=1, labelspacing=0.3,
        ncols=1 if levels <= max(4, 2 * k) else 2,
    )  # fmt: skip
    despine(axes).spines[["left", "bottom"]].set_visible(False)


def category_color(j: int, of: int) -> tuple[str, str]:
    """The colour of category j of `of`, from dark to light as grey printing keeps it, and of the text on it."""
    at = 0.15 + 0.8 * j / max(of - 1, 1)
    return to_hex(colormaps["cividis"](at)), "white" if at < 0.55 else "black"


def _figures_side_by_side(axes: Axes) -> int:
    """How many subfigures are side by side."""
    figure: Any = axes.get_figure(root=True)
    return max(len(figure.subfigs), 1)
