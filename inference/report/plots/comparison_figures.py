"""All figures of a comparison, by name."""

from __future__ import annotations

from matplotlib.figure import Figure

from ....models.random_state import fixed_seed
from ...criticism.aligned_components import aligned_models
from ...criticism.comparison import Comparison
from ...fitting.result_checks import require_made_by
from .bounds_figure import bounds_figure
from .data_figure import data_figure
from .latent_figure import latent_figure
from .posteriors_figure import posteriors_figure
from .profiles_figure import profiles_figure
from .reconstruction_figure import reconstructions_figure
from .responsibilities_figure import responsibilities_figure
from .samples_figure import samples_figure


def figures(comparison: Comparison) -> dict[str, Figure]:
    """Draw the figures of a comparison that make sense for its data and models.

    The figures and when they are drawn:

    - "data": columns of numbers. One column has a histogram with the density of each fit; more columns have the rows as
      dots with the components of each fit outlined at 1 and 2 standard deviations. Columns of categories are left out.
    - "samples": columns of pixels (named pixel_0_0, pixel_0_1, ...). Rows of the data above rows drawn from each fit.
    - "profiles": models with components whose parameters "data" does not show in full. Probabilities of categories,
      rates of counts, means of many columns.
    - "reconstructions": models with a continuous latent variable; pixels, or 2 to 4 columns of measurements. Rows and
      their reconstructions.
    - "latent": models with a continuous latent variable. The posterior means of the rows in the two most active
      dimensions.
    - "posteriors": fits with a posterior over the parameters. 90 % intervals.
    - "bounds": always. The bound of each fit against passes and seconds.
    - "responsibilities": models with a categorical posterior. The component probabilities of the rows.

    `figure.get_suptitle()` is the title of a figure, `figure.get_label()` a caption that says how to read it. Figures
    are made without pyplot: save one by `figure.savefig(path)`, or let it be the last line of a notebook cell. For a
    large table a sample of rows is drawn, the same each time.

    Args:
        comparison: What `compare` returns.

    Returns:
        The matplotlib figures by name, in the order above.

    Raises:
        TypeError: `comparison` is no `Comparison`.

    Example:
        >>> from lowerbound import datasets
        >>> from lowerbound.inference import EM, compare, fit
        >>> from lowerbound.inference.plots import figures
        >>> from lowerbound.models import GaussianMixture
        >>> x = datasets.load("faithful")
        >>> drawn = figures(compare(x, em=fit(GaussianMixture(2, 2), x, EM(), max_passes=3)))
        >>> list(drawn)
        ['data', 'bounds', 'responsibilities']
        >>> drawn["data"].get_suptitle()
        'Components of em'
    """
    require_made_by("compare()", Comparison, comparison=comparison)
    with fixed_seed(0):  # some tables draw their rows at random, and some models their figures
        models = aligned_models(comparison)
        drawn = {
            "data": data_figure(comparison, models),
            "samples": samples_figure(comparison, models),
            "profiles": profiles_figure(comparison, models),
            "reconstructions": reconstructions_figure(comparison, models),
            "latent": latent_figure(comparison, models),
            "posteriors": posteriors_figure(comparison, models),
            "bounds": bounds_figure(comparison),
            "responsibilities": responsibilities_figure(comparison, models),
        }
    return {name: figure for name, figure in drawn.items() if figure is not None}
