"""The responsibilities: how certain each fit is of the component of each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from ...criticism.comparison import Comparison
from ...criticism.component_profiles import numeric_columns
from ...criticism.distances_between_fits import largest_distance
from ..text_table import format_number
from .stacked_areas import CERTAIN, have_same_components, stacked_areas, uncertain_note
from .style import COLOURS, blank_figure, despine, mark_half_missing_rows, set_title_and_caption

DRAWN_ROWS = 2000
# from component 2 over grey to component 1
SCALE = LinearSegmentedColormap.from_list("two components", [COLOURS[1], "#d9d9d9", COLOURS[0]])


def responsibilities_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """Two components in two columns: the rows, coloured by the probability of component 1. Otherwise: the rows side by
    side with the probabilities of their components stacked.

    None without a categorical posterior.
    """
    x = comparison.x.sample(torch.Generator().manual_seed(0), DRAWN_ROWS).x
    probabilities = {}
    for name, model in models.items():
        posterior = model.posterior(x)
        if isinstance(posterior, torch.distributions.Categorical):
            probabilities[name] = posterior.probs.numpy()
    if not probabilities:
        return None
    if len(numeric_columns(next(iter(models.values())), 2)) == x.shape[1] == 2 and all(
        p.shape[1] == 2 for p in probabilities.values()
    ):
        figure = _scatter(probabilities, x.numpy(), comparison.x.columns)
        caption = (
            "Each dot is a row: blue circles belong to component 1, orange crosses to component 2. Larger ones with a "
            f"black outline have no component above {CERTAIN}."
        )
        if bool(x.isnan().any()):
            caption += " Ticks on an axis are rows with the other column missing."
    else:
        figure = stacked_areas(probabilities)
        which = "the first" if have_same_components(probabilities) else "each"
        caption = (
            "Each row is a thin column, divided among the components by their probabilities. Rows are sorted by "
            f"component and certainty in {which} fit. A column of one colour is certain, of several colours uncertain."
        )
    return set_title_and_caption(figure, _title(comparison, probabilities), caption)


def _scatter(probabilities: dict[str, np.ndarray], x: np.ndarray, columns: list[str]) -> Figure:
    """One panel for each fit: rows in two columns, coloured by the probability of component 1."""
    across = 2 if len(probabilities) == 4 else min(len(probabilities), 3)
    down = -(-len(probabilities) // across)
    figure = blank_figure(4.2 * across + 1.2, 3.9 * down + 0.6)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    shown = list(grid.flat[: len(probabilities)])
    for axes in grid.flat[len(probabilities) :]:
        axes.remove()
    for axes, (name, p) in zip(shown, probabilities.items(), strict=True):
        uncertain = p.max(1) < CERTAIN
        complete = ~np.isnan(x).any(1)
        for component, marker in ((0, "o"), (1, "X")):
            members = complete & (p.argmax(1) == component)
            for part, style in (
                (members & ~uncertain, {"s": 22, "linewidths": 0}),
                (members & uncertain, {"s": 60, "linewidths": 1, "edgecolors": "black"}),
            ):
                axes.scatter(*x[part].T, c=p[part, 0], cmap=SCALE, vmin=0, vmax=1, marker=marker, alpha=0.9, **style)
        mark_half_missing_rows(axes, x, p[:, 0], cmap=SCALE, vmin=0, vmax=1, linewidths=1.5)
        despine(axes).set_title(f"{name}\n{uncertain_note(p)}", fontsize=10)
        axes.label_outer()
    for axes in shown[-across:]:  # panels with no panel below
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(columns[0])
    for axes in grid[:, 0]:
        axes.set_ylabel(columns[1])
    figure.colorbar(ScalarMappable(Normalize(0, 1), SCALE), ax=shown, label="probability of component 1", shrink=0.8)
    return figure


def _title(comparison: Comparison, probabilities: dict[str, np.ndarray]) -> str:
    """How many rows are certain, or whether the fits agree."""
    divergence = largest_distance(comparison, "posterior_kl")
    if len(probabilities) == 1:
        name, p = next(iter(probabilities.items()))
        return f"{name} is certain of {int((p.max(1) >= CERTAIN).sum())} of {len(p)} rows"
    if not np.isfinite(divergence):  # no pair matches, or one fit has probability 0 where another has not
        return "How certain each fit is of the component of each row"
    if divergence < 0.01:
        return f"The fits agree: posteriors {format_number(divergence, '{:.1g}')} nats apart on average"
    return f"The fits assign rows differently: posteriors {format_number(divergence, '{:.2g}')} nats apart on average"
