"""The figures of a comparison: the data with the components, what they are, the bounds, the responsibilities."""

from __future__ import annotations

from matplotlib.figure import Figure

from ..compare import Comparison
from ..components import relabelled
from .bounds import bounds_figure
from .data import data_figure
from .profiles import profiles_figure
from .responsibilities import responsibilities_figure

__all__ = ["figures"]


def figures(comparison: Comparison) -> dict[str, Figure]:
    """The figures by name, those that make sense: "data", "profiles", "bounds", "responsibilities".

    "data": one column: histogram and densities; else the rows, with the outlines of each fit's components. Columns of
    categories are left out, and so is the figure if no others are there or no fit has an outline to draw.
    "profiles": probabilities of categories, rates of counts, means: of components that "data" cannot show in full.
    "bounds": always. "responsibilities": of the fits with a categorical posterior; left out if there is none.
    `figure.get_suptitle()` is what a figure shows, `figure.get_label()` how to read it. Made without pyplot: save
    them by `figure.savefig(path)`, or end a notebook's cell with one. Of many rows some are drawn, always the same.
    """
    models = relabelled(comparison)
    made = {
        "data": data_figure(comparison, models),
        "profiles": profiles_figure(comparison, models),
        "bounds": bounds_figure(comparison),
        "responsibilities": responsibilities_figure(comparison, models),
    }
    return {name: figure for name, figure in made.items() if figure is not None}
