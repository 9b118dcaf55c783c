"""All figures of a comparison."""

from __future__ import annotations

from matplotlib.figure import Figure

from ....models.random_state import fixed_seed
from ...criticism.comparison import Comparison
from ...criticism.component_summaries import relabelled
from .bounds_figure import bounds_figure
from .data_figure import data_figure
from .latent_figure import latent_figure
from .posteriors_figure import posteriors_figure
from .profiles_figure import profiles_figure
from .reconstruction_figure import reconstructions_figure
from .responsibilities_figure import responsibilities_figure
from .samples_figure import samples_figure


def figures(comparison: Comparison) -> dict[str, Figure]:
    """The figures by name, those that make sense: "data", "samples", "profiles", "reconstructions", "latent",
    "posteriors", "bounds", "responsibilities".

    "data": one column: histogram and densities; else the rows, with the outlines of each fit's components. Columns of
    categories are left out, and so is the figure if no others are there or no fit has an outline to draw.
    "samples": where the columns are pixels (named pixel_0_0, pixel_0_1, ...): rows drawn from each fit, beside real
    ones. "profiles": probabilities of categories, rates of counts, means: of components that "data" cannot show in
    full. "reconstructions", "latent": of the fits with a continuous latent: what is left of a row that goes through it
    and back, of pixels and of 2 to 4 columns of measurements; and where the rows lie in its two most active dimensions.
    "posteriors": of the fits with a posterior over their parameters.
    "bounds": always. "responsibilities": of the fits with a categorical posterior; left out if there is none.
    `figure.get_suptitle()` is what a figure shows, `figure.get_label()` how to read it. Made without pyplot: save
    them by `figure.savefig(path)`, or end a notebook's cell with one. Of many rows some are drawn, always the same.
    """
    with fixed_seed(0):  # of a table that draws its rows, and of models that draw
        models = relabelled(comparison)
        made = {
            "data": data_figure(comparison, models),
            "samples": samples_figure(comparison, models),
            "profiles": profiles_figure(comparison, models),
            "reconstructions": reconstructions_figure(comparison, models),
            "latent": latent_figure(comparison, models),
            "posteriors": posteriors_figure(comparison, models),
            "bounds": bounds_figure(comparison),
            "responsibilities": responsibilities_figure(comparison, models),
        }
    return {name: figure for name, figure in made.items() if figure is not None}
