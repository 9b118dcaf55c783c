"""Where the rows lie among the latent variables: posterior means in the two most active dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ....data.rows import as_rows
from ...criticism.comparison import Comparison
from ...criticism.gap_report import ACTIVE
from .drawn_rows import rows_to_draw, to_numpy
from .latent_means import LatentMeans, require_dimensions
from .latent_models import require_continuous_latent, with_continuous_latent
from .latent_scatter import draw_latent_panel
from .picture_shape import ValueRange, comparison_shape, known_shape, required_shape, value_range, value_range_note
from .style import blank_figure, join_names, set_title_and_caption

MOST_KINDS = 20  # colours and signs that one can tell apart


def latent_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """A map of the rows for each fit with a continuous latent; None if there is none."""
    models = with_continuous_latent(models)
    if not models:
        return None
    rows = rows_to_draw(comparison.x).x
    found = {name: LatentMeans.of(model, rows) for name, model in models.items()}
    shape = comparison_shape(comparison, models)
    across = 2 if len(models) == 4 else min(len(models), 3)
    down = -(-len(models) // across)
    side = {1: 7.0, 2: 5.6}.get(across, 4.8)
    figure = blank_figure(side * across + 0.2, side * down + 0.7)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(models) :]:
        axes.remove()
    for axes, (name, latents) in zip(grid.flat, found.items(), strict=False):
        draw_latent_panel(axes, latents, latents.shown, to_numpy(rows), shape)
        if len(models) > 1:
            axes.set_title(name, fontsize=12, loc="left", fontweight="bold")
    return set_title_and_caption(figure, _takeaway(found), _reading(found.values(), to_numpy(rows) if shape else None))


def latent_map(
    model: Any,
    x: Any,
    colors: Any = None,
    dimensions: Sequence[int] | None = None,
    shape: Sequence[int] | None = None,
) -> Figure:
    """Where the rows of x lie in two latent dimensions: their posterior means, `model.transform(x)`, of at most 2000.

    colors: (n,) a label of each row, of at most 20 kinds, for dots coloured by them; without, and where the rows are
    pictures, some of them are drawn at their places. dimensions: two of them, from 0; by default those whose posterior
    means vary most. shape: (height, width) of a picture, by default that of columns named pixel_0_0, pixel_0_1, ...
    Grey circles: 1 and 2 standard deviations of the prior. A single latent dimension has a histogram. Raises TypeError
    for a model without a continuous latent, ValueError for labels or dimensions that do not fit.
    """
    require_continuous_latent(model, "latent_map")
    kinds, codes = (None, None) if colors is None else np.unique(np.asarray(colors), return_inverse=True)
    rows = as_rows(x, model=model)
    if codes is not None:
        if codes.shape != (len(rows),):
            raise ValueError(f"colors has shape {codes.shape}, expected ({len(rows)},): a label of each row")
        rows = as_rows(x, labels=codes, model=model)
    if kinds is not None and len(kinds) > MOST_KINDS:
        raise ValueError(f"colors has {len(kinds)} different labels, expected at most {MOST_KINDS}")
    size = known_shape(model, rows.columns) if shape is None else required_shape(model, shape, rows.features)
    chunk = rows_to_draw(rows)
    latents = LatentMeans.of(model, chunk.x)
    shown = latents.shown if dimensions is None else require_dimensions(model, dimensions, 2)
    figure = blank_figure(7.4 if kinds is None else 8.2, 7.2)
    values = to_numpy(chunk.x)
    labels = None if kinds is None or chunk.labels is None else kinds[chunk.labels.numpy()]
    draw_latent_panel(figure.subplots(), latents, shown, values, size if kinds is None else None, labels)
    pictures = values if size and kinds is None else None
    return set_title_and_caption(
        figure, _takeaway({f"the {type(model).__name__}": latents}), _reading([latents], pictures)
    )


def _takeaway(found: dict[str, LatentMeans]) -> str:
    idle = {name: latents for name, latents in found.items() if latents.used < len(latents.activity)}
    if not idle:
        one = len(found) == 1
        every = next(iter(found.values())).activity
        which = "its latent dimension" if one and len(every) == 1 else "all latent dimensions"
        where = f"Where {join_names(list(found), len(found))} put{'s' if one else ''} the rows"
        return f"{where}: {which} in use"
    if len(idle) > 3:
        return f"{join_names(list(idle), len(found))} leave latent dimensions unused"
    said = [f"{latents.used} of {len(latents.activity)} latent dimensions" for latents in idle.values()]
    words = ", ".join(f"{name} uses {each}" for name, each in zip(idle, said, strict=True))
    return words[0].upper() + words[1:] if words.startswith("the ") else words


def _reading(found: Any, pictures: np.ndarray | None) -> str:
    found = list(found)
    beyond = max(len(latents.activity) for latents in found) > 2
    plane = any(len(latents.activity) > 1 for latents in found)
    said = "Each dot is a row at its posterior mean"
    if pictures is not None and plane:
        said += ", some of them drawn there as pictures: rows that the model takes for alike lie together"
    said += f". A dimension is in use if these means vary, by more than {ACTIVE}"
    said += "; of more than two the two that vary most are drawn." if beyond else "."
    if plane:
        said += " The circles are 1 and 2 standard deviations of the prior."
    if any(latents.kl is not None for latents in found):
        said += " KL is how far the posteriors are from the prior in a dimension, mean over rows."
    scale: ValueRange | None = None if pictures is None or not plane else value_range(pictures)
    return said + (f" {value_range_note(scale)}" if scale else "")
