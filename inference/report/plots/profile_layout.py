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

MOST_BARS = 10  # columns of bars that a reader takes in


MOST_DOTS = 24  # columns of dots; of more the numbers are shown as shades


@dataclass(frozen=True)
class PanelPlan:
    """A panel with its place: inches, and what draws it there."""

    height: float
    draw: Callable[[SubFigure, Any, list[float]], Any]


def plan_panels(found: list[ProfilePanel], width: float, notes: dict[str, None]) -> list[PanelPlan]:
    """How panels are drawn, one below the other, in so many inches; `notes` takes how they are read."""
    plan: list[PanelPlan] = []
    keyed = False
    for panel in found:
        k, m = panel.values.shape
        shape = shape_from_names(panel.names)
        if panel.levels:
            notes["Each bar is a component, divided by the probabilities of the categories."] = None
            plan.append(PanelPlan(0.62 + 0.3 * k, partial(_bars, panel)))
        elif shape is not None:
            notes[f"Each picture is a component: {panel.kind}, at the place of each column; darker is more."] = None
            across = min(k, 5)
            side = (width - 1.2) / max(across, 3) * shape[0] / shape[1]
            plan.append(PanelPlan(-(-k // across) * (side + 0.35), partial(_draw_pictures, panel, shape, across)))
        elif m > MOST_DOTS:
            notes[f"Each line of shades is a component: {panel.kind}; darker is more."] = None
            plan.append(PanelPlan(1.4 + 0.3 * k, partial(_heatmap, panel)))
        else:
            notes["Each sign is a component, the upright grey tick all of them together."] = None
            plan.append(PanelPlan(0.9 + m * max(0.34, 0.09 * k), partial(_dots, panel, not keyed)))
            keyed = True
    return plan


def _bars(panel: ProfilePanel, part: SubFigure, place: Any, shares: list[float]) -> None:
    stacked_bars(part.add_subplot(place), panel, shares)


def _heatmap(panel: ProfilePanel, part: SubFigure, place: Any, shares: list[float]) -> None:
    heatmap(part.add_subplot(place), panel, shares)


def _dots(panel: ProfilePanel, key: bool, part: SubFigure, place: Any, shares: list[float]) -> None:
    dot_plot(part.add_subplot(place), panel, shares, key)


def _draw_pictures(
    panel: ProfilePanel, shape: tuple[int, int], across: int, part: SubFigure, place: Any, shares: list[float]
) -> None:
    pixel_heatmaps(part, place, panel, shares, shape, across)


def most_different_panels(found: list[ProfilePanel], notes: dict[str, None]) -> list[ProfilePanel]:
    """Of many columns of bars those in which the components differ most."""
    columns = [panel for panel in found if panel.levels]
    if len(columns) <= MOST_BARS:
        return found
    kept = sorted(columns, key=lambda panel: -panel.spread.max())[:MOST_BARS]
    notes[f"The {MOST_BARS} of {len(columns)} columns in which the components differ most are shown."] = None
    return [panel for panel in found if not panel.levels or any(panel is each for each in kept)]
