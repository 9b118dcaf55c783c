"""How the panels of a profile figure are drawn, one below the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.figure import SubFigure

from .dot_plot import dot_plot
from .heatmaps import heatmap, pixel_heatmaps
from .picture_shape import shape_from_names
from .profile_panels import ProfilePanel
from .stacked_bars import stacked_bars

MOST_BARS = 10  # columns that are drawn as bars
MOST_DOTS = 24  # columns that are drawn as dots; more are drawn as shades


@dataclass(frozen=True)
class PanelPlan:
    """The height of a panel in inches, and the function that draws it."""

    height: float
    draw: Callable[[SubFigure, Any, list[float]], Any]


def plan_panels(found: list[ProfilePanel], width: float, notes: dict[str, None]) -> list[PanelPlan]:
    """Choose how each panel is drawn in a figure of this width in inches, one below the other.

    notes: gets a sentence on how to read each kind of panel.
    """
    plan: list[PanelPlan] = []
    has_legend = False
    for panel in found:
        k, m = panel.values.shape
        shape = shape_from_names(panel.names)
        if panel.levels:
            notes["Each bar is a component, divided by the probabilities of the categories."] = None
            plan.append(PanelPlan(0.62 + 0.3 * k, partial(_bars, panel)))
        elif shape is not None:
            notes[f"Each picture is a component: {panel.kind} of each pixel; darker is more."] = None
            across = min(k, 5)
            side = (width - 1.2) / max(across, 3) * shape[0] / shape[1]
            plan.append(PanelPlan(-(-k // across) * (side + 0.35), partial(_draw_pictures, panel, shape, across)))
        elif m > MOST_DOTS:
            notes[f"Each row of shades is a component: {panel.kind}; darker is more."] = None
            plan.append(PanelPlan(1.4 + 0.3 * k, partial(_heatmap, panel)))
        else:
            notes["Each marker is a component, the upright grey tick the average over all of them."] = None
            plan.append(PanelPlan(0.9 + m * max(0.34, 0.09 * k), partial(_dots, panel, not has_legend)))
            has_legend = True
    return plan


def _bars(panel: ProfilePanel, part: SubFigure, cell: Any, shares: list[float]) -> None:
    stacked_bars(part.add_subplot(cell), panel, shares)


def _heatmap(panel: ProfilePanel, part: SubFigure, cell: Any, shares: list[float]) -> None:
    heatmap(part.add_subplot(cell), panel, shares)


def _dots(panel: ProfilePanel, key: bool, part: SubFigure, cell: Any, shares: list[float]) -> None:
    dot_plot(part.add_subplot(cell), panel, shares, key)


def _draw_pictures(
    panel: ProfilePanel, shape: tuple[int, int], across: int, part: SubFigure, cell: Any, shares: list[float]
) -> None:
    pixel_heatmaps(part, cell, panel, shares, shape, across)


def most_different_panels(found: list[ProfilePanel], notes: dict[str, None]) -> list[ProfilePanel]:
    """The panels without the columns of bars in which components differ least, so that at most `MOST_BARS` remain."""
    columns = [panel for panel in found if panel.levels]
    if len(columns) <= MOST_BARS:
        return found
    kept = sorted(columns, key=lambda panel: -panel.spread.max())[:MOST_BARS]
    notes[f"The {MOST_BARS} of {len(columns)} columns in which the components differ most are shown."] = None
    return [panel for panel in found if not panel.levels or any(panel is each for each in kept)]
