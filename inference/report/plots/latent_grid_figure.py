"""The plane of two latent dimensions, as pictures that the decoder makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ....data.rows import as_rows
from .drawn_rows import rows_to_draw, to_numpy
from .latent_means import LatentMeans, require_dimensions
from .latent_models import decode_mean, require_continuous_latent
from .latent_path import dimension_label, points_along, require_steps
from .picture_grid import draw_picture, hide_frame
from .picture_shape import model_value_range, required_shape, value_range, value_range_note
from .style import blank_figure, set_title_and_caption

GRID = 15  # steps of the plane, each way


def latent_grid(
    model: Any,
    x: Any = None,
    dimensions: Sequence[int] | None = None,
    steps: int = GRID,
    shape: Sequence[int] | None = None,
    extent: float = 2.5,
) -> Figure:
    """The plane of two latent dimensions as the decoder sees it: the mean of p(x | z) at steps x steps places, from
    -extent to extent standard deviations of the prior each way, all other dimensions at 0.

    dimensions: two, from 0, across and up; by default the most active, as in `traversals`, whose x and shape are the
    same. Raises TypeError for a model without a continuous latent, ValueError for a single latent dimension (see
    `traversals`) and for columns without a known shape.
    """
    require_continuous_latent(model, "latent_grid")
    require_steps(steps, extent)
    if model.latent < 2:
        raise ValueError("the model has one latent dimension, expected two or more: see traversals(model)")
    size = required_shape(model, shape, model.features)
    rows = None if x is None else rows_to_draw(as_rows(x, model=model)).x
    latents = None if rows is None else LatentMeans.of(model, rows)
    ends = np.linspace(-extent, extent, steps)
    if dimensions is not None:
        i, j = require_dimensions(model, dimensions, 2)
    elif model.latent == 2:
        i, j = 0, 1
    elif latents is not None:
        i, j = latents.shown
    else:
        change = [decode_mean(model, points_along(model.latent, {k: ends})).var(0).sum() for k in range(model.latent)]
        i, j = np.argsort(-np.asarray(change), kind="stable")[:2].tolist()
    across, up = (each.ravel() for each in np.meshgrid(ends, ends))
    means = decode_mean(model, points_along(model.latent, {i: across, j: up}))
    scale = model_value_range(model, means) if rows is None else value_range(to_numpy(rows))
    tall = size[0] / size[1]
    figure = blank_figure(7.4, 7.4 * min(tall, 1.5) + 0.6)
    axes = hide_frame(figure.subplots())
    for k, values in enumerate(means):
        draw_picture(axes, values.reshape(size), k % steps + 0.04, tall * (k // steps + 0.04), 0.92, scale)
    axes.set(xlim=(0, steps), ylim=(0, tall * steps), aspect="equal")
    values = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(-extent, extent))
    ticks = values[np.abs(values) <= extent * (1 + 1e-9)]
    at = (ticks + extent) / (2 * extent) * (steps - 1) + 0.5
    words = [f"{tick:g}" for tick in ticks]
    axes.set_xticks(at, words)
    axes.set_yticks(tall * at, words)
    names = [dimension_label(k, latents).replace("\n", ", ") for k in (i, j)]
    axes.set(xlabel=f"{names[0]} (s.d. of the prior)", ylabel=f"{names[1]} (s.d. of the prior)")
    rest = ", all others at 0" if model.latent > 2 else ""
    return set_title_and_caption(
        figure,
        f"The latent plane of the {type(model).__name__}, as its decoder sees it",
        f"Each picture is what the decoder gives at its place in the plane{rest}. {value_range_note(scale)}",
    )
