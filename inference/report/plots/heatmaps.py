"""Numbers of many columns as shades: one line for each component, or one picture where the columns are pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from .style import component_label

SHADES = "Blues"  # white to dark blue, also for colour-blind readers and in grey print


def heatmap(axes: Axes, panel: Any, shares: Sequence[float]) -> None:
    """Draw one line for each component with one tile for each column."""
    k, m = panel.values.shape
    image = axes.imshow(panel.values, cmap=SHADES, vmin=panel.low, vmax=panel.high, aspect="auto")
    axes.set_yticks(range(k), [component_label(j, shares) for j in range(k)])
    every = -(-m // 40)
    axes.set_xticks(range(0, m, every), panel.names[::every], rotation=90, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("component")
    axes.get_figure().colorbar(image, ax=axes, label=_wrapped(panel.kind), pad=0.01)  # type: ignore[union-attr]


def pixel_heatmaps(
    part: SubFigure, cell: Any, panel: Any, shares: Sequence[float], shape: tuple[int, int], across: int
) -> None:
    """Draw one picture for each component, whose pixels are the columns."""
    k = len(panel.values)
    grid = cell.subgridspec(-(-k // across), across)
    drawn = []
    for j, value in enumerate(panel.values):
        axes = part.add_subplot(grid[j // across, j % across])
        image = axes.imshow(value.reshape(shape), cmap=SHADES, vmin=panel.low, vmax=panel.high)
        axes.set_title(component_label(j, shares), fontsize=10)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        drawn.append((axes, image))
    part.colorbar(drawn[0][1], ax=[axes for axes, _ in drawn], label=_wrapped(panel.kind), shrink=0.7, pad=0.02)


def _wrapped(kind: str) -> str:
    """A label with a new line after each comma."""
    return kind.replace(", ", ",\n")
