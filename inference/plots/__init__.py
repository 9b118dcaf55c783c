"""The figures of a comparison: the data with the components, the way of the bounds, the responsibilities."""

from __future__ import annotations

from matplotlib.figure import Figure

from ..compare import Comparison
from ..components import relabelled
from .bounds import bounds_figure
from .data import data_figure
from .responsibilities import responsibilities_figure

__all__ = ["figures"]


def figures(comparison: Comparison) -> dict[str, Figure]:
    """The figures by name, those that make sense: "data", "bounds", "responsibilities".

    "data": one column: histogram and densities; else the rows, with the outlines of each fit's components. Left out
    for several columns if they are codes of categories, or otherwise no fit has an outline to draw.
    "bounds": always. "responsibilities": of the fits with a categorical posterior; left out if there is none.
    `figure.get_suptitle()` is what a figure shows, `figure.get_label()` how to read it. Made without pyplot: save
    them by `figure.savefig(path)`, or end a notebook's cell with one. Of many rows some are drawn, always the same.
    """
    models = relabelled(comparison)
    made = {
        "data": data_figure(comparison, models),
        "bounds": bounds_figure(comparison),
        "responsibilities": responsibilities_figure(comparison, models),
    }
    return {name: figure for name, figure in made.items() if figure is not None}
