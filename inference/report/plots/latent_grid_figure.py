"""The plane of two latent dimensions as a grid of decoded pictures."""

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


def latent_grid(
    model: Any,
    x: Any = None,
    dimensions: Sequence[int] | None = None,
    steps: int = 15,
    shape: Sequence[int] | None = None,
    extent: float = 2.5,
) -> Figure:
    """Draw the plane of two latent dimensions as pictures: the mean of p(x | z) on a grid of z.

    All other latent dimensions are 0.

    Args:
        model: A fitted model with a continuous latent variable of two or more dimensions, such as `PPCA` or `VAE`.
        x: Rows, as for `fit`, which tell the most active dimensions and the numbers that are drawn white and black;
            without them, dimensions are ordered by how much they change the pictures.
        dimensions: Two latent dimensions, counted from 0, across and up; by default the two most active ones.
        steps: Number of pictures in each direction.
        shape: (height, width) of a picture; by default known if the columns that the model was fitted to are named
            pixel_0_0, pixel_0_1, ...
        extent: The grid goes from -extent to extent standard deviations of the prior.

    Returns:
        A matplotlib figure.

    Raises:
        TypeError: The model has no continuous latent variable.
        ValueError: The latent variable has one dimension (see `traversals`), the shape is unknown, or
            dimensions, steps, shape or extent are not possible.

    Example:
        >>> from lowerbound import datasets
        >>> from lowerbound.inference.plots import latent_grid
        >>> from lowerbound.models import PPCA
        >>> x = datasets.load("digits").iloc[:200]
        >>> figure = latent_grid(PPCA.closed_form(x, 2), x, steps=3)
        >>> len(figure.axes[0].images)
        9
    """
    require_continuous_latent(model, "latent_grid")
    require_steps(steps, extent)
    if model.latent < 2:
        raise ValueError("the model has one latent dimension, expected two or more: use traversals(model)")
    size = required_shape(model, shape, model.features)
    rows = None if x is None else rows_to_draw(as_rows(x, model=model)).x
    latents = None if rows is None else LatentMeans.of(model, rows)
    positions = np.linspace(-extent, extent, steps)
    if dimensions is not None:
        i, j = require_dimensions(model, dimensions, 2)
    elif model.latent == 2:
        i, j = 0, 1
    elif latents is not None:
        i, j = latents.shown
    else:
        change = [
            decode_mean(model, points_along(model.latent, {k: positions})).var(0).sum() for k in range(model.latent)
        ]
        i, j = np.argsort(-np.asarray(change), kind="stable")[:2].tolist()
    across, up = (each.ravel() for each in np.meshgrid(positions, positions))
    means = decode_mean(model, points_along(model.latent, {i: across, j: up}))
    scale = model_value_range(model, means) if rows is None else value_range(to_numpy(rows))
    tall = size[0] / size[1]  # height of a picture of width 1
    figure = blank_figure(7.4, 7.4 * min(tall, 1.5) + 0.6)
    axes = hide_frame(figure.subplots())
    for k, values in enumerate(means):
        draw_picture(axes, values.reshape(size), k % steps + 0.04, tall * (k // steps + 0.04), 0.92, scale)
    axes.set(xlim=(0, steps), ylim=(0, tall * steps), aspect="equal")
    values = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(-extent, extent))
    ticks = values[np.abs(values) <= extent * (1 + 1e-9)]
    at = (ticks + extent) / (2 * extent) * (steps - 1) + 0.5
    labels = [f"{tick:g}" for tick in ticks]
    axes.set_xticks(at, labels)
    axes.set_yticks(tall * at, labels)
    names = [dimension_label(k, latents).replace("\n", ", ") for k in (i, j)]
    axes.set(xlabel=f"{names[0]} (s.d. of the prior)", ylabel=f"{names[1]} (s.d. of the prior)")
    rest = ", all others at 0" if model.latent > 2 else ""
    return set_title_and_caption(
        figure,
        f"Decoded latent plane of the {type(model).__name__}",
        f"Each picture is the mean of p(x | z) with z at the center of the picture{rest}. {value_range_note(scale)}",
    )
