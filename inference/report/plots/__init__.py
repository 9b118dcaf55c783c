"""The figures: of a comparison, of a selection, and of one model with a continuous latent variable.

What lives here: a file for each figure (`..._figure.py`), files for the kinds of drawing that several figures share
(`dot_plot`, `stacked_bars`, `heatmaps`, `picture_grid`, ...), and `style` with the colors and line styles of all of
them. Public names are those of `lowerbound.inference.plots`.

What a new figure must offer: a function that takes a comparison and its relabeled models, and returns a
`matplotlib.figure.Figure`, or None where it makes no sense for these models. It asks for abilities of a model by the
protocols of `models.abilities`, makes the figure by `style.blank_figure` (never by pyplot, whose state is global), and
sets its title and caption by `style.set_title_and_caption`. List it in `comparison_figures.figures` and in
`report_page.SECTIONS`.

What it may import: `inference.criticism` and the folders below it, `summary_lines` and `text_table` of the folder
above; nothing of `inference.cli`.
"""

from .comparison_figures import figures
from .latent_figure import latent_map
from .latent_grid_figure import latent_grid
from .reconstruction_figure import reconstructions
from .samples_figure import samples
from .traversal_figure import traversals

__all__ = ["figures", "latent_grid", "latent_map", "reconstructions", "samples", "traversals"]
