"""Numbers of some columns as dots on lines, one marker for each component."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .style import COLOURS, GREY, MARKERS, component_label, despine

LOG_RATIO = 100.0  # the axis is logarithmic if the largest number is more than this times the smallest


def dot_plot(axes: Axes, panel: Any, shares: Sequence[float], key: bool = True) -> None:
    """Draw a line for each column with a dot for each component; a grey tick is the average of the components.

    key: whether to draw the legend.
    """
    k, m = panel.values.shape
    step = 0.5 / max(k - 1, 1) if k > 1 else 0.0
    lines = np.arange(m)
    axes.hlines(lines, panel.values.min(0), panel.values.max(0), color="#cccccc", linewidth=6, zorder=1)
    if len(shares) == k:
        axes.plot(np.asarray(shares) @ panel.values, lines, "|", color=GREY, markersize=22, markeredgewidth=2, zorder=2)
    for j in range(k):
        axes.plot(
            panel.values[j], lines + step * (j - (k - 1) / 2), component_marker(j), color=COLOURS[j % 8],
            markersize=8.5, markeredgecolor="white", markeredgewidth=0.7, label=component_label(j, shares), zorder=3,
            clip_on=False,
        )  # fmt: skip
    margin = 0.03 * (panel.high - panel.low)
    axes.set(xlim=(panel.low - margin, panel.high + margin), ylim=(m - 0.5, -0.5))
    positive = panel.values[panel.values > 0]
    if panel.low == 0 and panel.high > 1 and len(positive) == k * m and panel.high > LOG_RATIO * positive.min():
        axes.set_xscale("log")
        axes.set_xlim(0.8 * positive.min(), 1.25 * panel.high)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_yticks(lines, panel.names)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(panel.kind)
    axes.grid(axis="x", color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    despine(axes).spines["left"].set_visible(False)
    if key:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, title="component")


def component_marker(j: int) -> str:
    """The marker of component j. With its colour it is unique among 64 components."""
    return MARKERS[(j + j // 8) % 8]
