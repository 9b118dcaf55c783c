"""Latent traversals: what the decoder gives as one latent dimension varies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ....data.rows import as_rows
from ....models.abilities import RemembersTable
from .drawn_rows import rows_to_draw, to_numpy
from .latent_means import LatentMeans, require_dimensions
from .latent_models import decode_mean, require_continuous_latent
from .latent_path import dimension_label, points_along, require_steps
from .picture_grid import picture_grid
from .picture_shape import known_shape, model_value_range, required_shape, value_range, value_range_note
from .style import blank_figure, despine, set_title_and_caption

MOST_DIMENSIONS = 10
MOST_COLUMNS = 40  # of a table that is drawn as lines


def traversals(
    model: Any,
    x: Any = None,
    dimensions: Sequence[int] | None = None,
    steps: int = 9,
    shape: Sequence[int] | None = None,
    extent: float = 2.5,
) -> Figure:
    """Draw the mean of p(x | z) as one latent dimension varies and the others are 0, for each dimension.

    Rows that are pictures have one row of pictures for each dimension. Other tables, of up to 40 columns, have one
    panel of lines for each dimension, with the columns across and their means up.

    Args:
        model: A fitted model with a continuous latent variable, such as `PPCA` or `VAE`.
        x: Rows, as for `fit`. They tell how active each dimension is (the variance of its posterior means) and the
            scale of the drawing: lines are in standard deviations of x. Without them, the activity of a dimension is
            how much it changes the means, and lines are in the units of the data.
        dimensions: Latent dimensions, counted from 0; by default the 10 most active ones, most active first.
        steps: Number of values of the dimension.
        shape: (height, width) of a picture; by default known if the columns that the model was fitted to are named
            pixel_0_0, pixel_0_1, ...
        extent: The dimension varies from -extent to extent standard deviations of the prior.

    Returns:
        A matplotlib figure.

    Raises:
        TypeError: The model has no continuous latent variable.
        ValueError: There are more than 40 columns and the shape is unknown, or dimensions, steps, shape or extent
            are not possible.

    Example:
        >>> from lowerbound import datasets
        >>> from lowerbound.inference.plots import traversals
        >>> from lowerbound.models import PPCA
        >>> x = datasets.load("digits").iloc[:200]
        >>> figure = traversals(PPCA.closed_form(x, 2), x, steps=5)
        >>> len(figure.axes[0].images)
        10
    """
    require_continuous_latent(model, "traversals")
    require_steps(steps, extent)
    rows = None if x is None else rows_to_draw(as_rows(x, model=model)).x
    latents = None if rows is None else LatentMeans.of(model, rows)
    positions = np.linspace(-extent, extent, steps)
    chosen = list(range(model.latent)) if dimensions is None else require_dimensions(model, dimensions)
    means = {j: decode_mean(model, points_along(model.latent, {j: positions})) for j in chosen}
    if dimensions is None:
        activity = {j: float(means[j].var(0).sum() if latents is None else latents.activity[j]) for j in chosen}
        chosen = sorted(chosen, key=lambda j: -activity[j])[:MOST_DIMENSIONS]
        means = {j: means[j] for j in chosen}
    size = known_shape(model) if shape is None else None
    if size is None and (shape is not None or model.features > MOST_COLUMNS):
        size = required_shape(model, shape, model.features)
    if size is None:
        return _lines(model, means, positions, rows, latents)
    scale = (
        model_value_range(model, np.concatenate(list(means.values()))) if rows is None else value_range(to_numpy(rows))
    )
    figure, axes = picture_grid([(dimension_label(j, latents), pictures) for j, pictures in means.items()], size, scale)
    middles = [float(np.mean(image.get_extent()[:2])) for image in axes.images[:steps]]
    axes.set_xticks(middles, [f"{position:.2g}" if abs(position) > 1e-9 else "0" for position in positions])
    axes.set_xlabel("standard deviations of the prior")
    return set_title_and_caption(
        figure,
        _title(model, chosen),
        f"Each row of pictures is a latent dimension, {_order(dimensions, latents)}: the mean of p(x | z) as the "
        f"dimension varies and all others are 0. If the pictures of a row are equal, the dimension is not in use. "
        f"{value_range_note(scale)}",
    )


def _lines(
    model: Any,
    means: dict[int, np.ndarray],
    positions: np.ndarray,
    rows: torch.Tensor | None,
    latents: LatentMeans | None,
) -> Figure:
    """A panel for each dimension with the columns across, their means up, and a line for each step."""
    d = model.features
    schema = model.schema if isinstance(model, RemembersTable) else None
    names = [f"column {j}" for j in range(d)] if schema is None else list(schema.columns)
    loc, unit = np.zeros(d), np.ones(d)
    if rows is not None:
        x = to_numpy(rows)
        loc, unit = x.mean(0), np.where(x.std(0) > 0, x.std(0), 1)
    across = min(len(means), 2 if d > 6 else 3)
    down = -(-len(means) // across)
    figure = blank_figure(max(4.6 if d > 6 else 3.6, 0.2 * d) * across + 1.4, 2.6 * down + 1.2)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    shown = list(grid.flat[: len(means)])
    for axes in grid.flat[len(means) :]:
        axes.remove()
    colours, span = colormaps["cividis"], Normalize(positions[0], positions[-1])
    for axes, (j, lines) in zip(shown, means.items(), strict=True):
        for position, values in zip(positions, lines, strict=True):
            axes.plot(
                range(d), (values - loc) / unit, color=colours(span(position)), marker="o", markersize=4, linewidth=1.3
            )
        despine(axes).set_title(dimension_label(j, latents).replace("\n", ", "), fontsize=10)
        axes.set_xticks(range(d), names, rotation=90 if d > 4 or max(map(len, names)) > 8 else 0, fontsize=9)
    for axes in shown[-across:]:
        axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("mean of the column" if rows is None else "mean, in s.d. of the data")
    figure.colorbar(ScalarMappable(span, colours), ax=shown, label="latent dimension,\nin s.d. of the prior")
    return set_title_and_caption(
        figure,
        _title(model, list(means)),
        "Each line is the mean of p(x | z), with the columns across: dark for the smallest value of the dimension, "
        "light for the largest, all others at 0. Where the lines differ, the dimension changes the column.",
    )


def _order(dimensions: Sequence[int] | None, latents: LatentMeans | None) -> str:
    """The order of the dimensions, in words."""
    if dimensions is not None:
        return "in the order given"
    return "the most active first" if latents is not None else "the one that changes the pictures most first"


def _title(model: Any, chosen: list[int]) -> str:
    """Which dimensions are shown, in words."""
    q = model.latent
    which = f"{len(chosen)} of the {q} latent dimensions" if len(chosen) < q else f"the {q} latent dimensions"
    if q == 1:
        return f"What the latent dimension of the {type(model).__name__} changes"
    return f"What {'each of ' if len(chosen) > 1 else ''}{which} of the {type(model).__name__} changes"
