"""What a latent dimension means: what the decoder gives as it goes from one end of the prior to the other."""

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
from .drawn_rows import rows_to_draw, to_numpy
from .latent_means import LatentMeans, require_dimensions
from .latent_models import decode_mean, require_continuous_latent
from .latent_path import dimension_label, points_along, require_steps
from .picture_grid import picture_grid
from .picture_shape import known_shape, model_value_range, required_shape, value_range, value_range_note
from .style import blank_figure, despine, set_title_and_caption

MOST_DIMENSIONS = 10
MOST_LINES = 40  # columns of a line plot, of rows that are no pictures


def traversals(
    model: Any,
    x: Any = None,
    dimensions: Sequence[int] | None = None,
    steps: int = 9,
    shape: Sequence[int] | None = None,
    extent: float = 2.5,
) -> Figure:
    """A strip for each latent dimension: the mean of p(x | z) as it goes from -extent to extent standard deviations of
    the prior in so many steps, the others at 0.

    dimensions: which, from 0; by default the most active first, at most 10. x: rows by which to tell how active they
    are (variance of the posterior means) and on whose scale to draw; without, by how much they change the pictures.
    shape: (height, width) of a picture, by default that of columns named pixel_0_0, pixel_0_1, ... in the table that
    the model was fitted to. Other tables, of up to 40 columns, have lines: the columns across, their means up, in
    standard deviations where x is given. Raises TypeError for a model without a continuous latent, ValueError for
    columns without a known shape.
    """
    require_continuous_latent(model, "traversals")
    require_steps(steps, extent)
    rows = None if x is None else rows_to_draw(as_rows(x, model=model)).x
    latents = None if rows is None else LatentMeans.of(model, rows)
    ends = np.linspace(-extent, extent, steps)
    chosen = list(range(model.latent)) if dimensions is None else require_dimensions(model, dimensions)
    made = {j: decode_mean(model, points_along(model.latent, {j: ends})) for j in chosen}
    if dimensions is None:
        activity = {j: float(made[j].var(0).sum() if latents is None else latents.activity[j]) for j in chosen}
        chosen = sorted(chosen, key=lambda j: -activity[j])[:MOST_DIMENSIONS]
        made = {j: made[j] for j in chosen}
    size = known_shape(model) if shape is None else None
    if size is None and (shape is not None or model.features > MOST_LINES):
        size = required_shape(model, shape, model.features)
    if size is None:
        return _lines(model, made, ends, rows, latents)
    whole = np.concatenate(list(made.values()))
    scale = model_value_range(model, whole) if rows is None else value_range(to_numpy(rows))
    figure, axes = picture_grid([(dimension_label(j, latents), pictures) for j, pictures in made.items()], size, scale)
    middles = [float(np.mean(image.get_extent()[:2])) for image in axes.images[:steps]]
    axes.set_xticks(middles, [f"{end:.2g}" if abs(end) > 1e-9 else "0" for end in ends])
    axes.set_xlabel("standard deviations of the prior")
    return set_title_and_caption(
        figure,
        _takeaway(model, chosen),
        f"Each line is a latent dimension, {_order(dimensions, latents)}: what the decoder gives as it goes from one "
        f"end of the prior to the other, all others at 0. A line of equal pictures: a dimension not in use. "
        f"{value_range_note(scale)}",
    )


def _lines(
    model: Any, made: dict[int, np.ndarray], ends: np.ndarray, rows: torch.Tensor | None, latents: LatentMeans | None
) -> Figure:
    """A panel for each dimension: the columns across, their means up, a line for each step."""
    d = model.features
    names = [f"column {j}" for j in range(d)] if model.schema is None else list(model.schema.columns)
    loc, unit = np.zeros(d), np.ones(d)
    if rows is not None:
        x = to_numpy(rows)
        loc, unit = x.mean(0), np.where(x.std(0) > 0, x.std(0), 1)
    across = min(len(made), 2 if d > 6 else 3)
    down = -(-len(made) // across)
    figure = blank_figure(max(4.6 if d > 6 else 3.6, 0.2 * d) * across + 1.4, 2.6 * down + 1.2)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    shown = list(grid.flat[: len(made)])
    for axes in grid.flat[len(made) :]:
        axes.remove()
    colours, span = colormaps["cividis"], Normalize(ends[0], ends[-1])
    for axes, (j, means) in zip(shown, made.items(), strict=True):
        for end, values in zip(ends, means, strict=True):
            axes.plot(
                range(d), (values - loc) / unit, color=colours(span(end)), marker="o", markersize=4, linewidth=1.3
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
        _takeaway(model, list(made)),
        "Each line is a row that the decoder gives, the columns across: dark with a latent dimension at its lower end, "
        "light at its upper end, all others at 0. Where the lines are apart, the dimension changes the column.",
    )


def _order(dimensions: Sequence[int] | None, latents: LatentMeans | None) -> str:
    if dimensions is not None:
        return "in the order asked for"
    return "the most active first" if latents is not None else "that which changes most first"


def _takeaway(model: Any, chosen: list[int]) -> str:
    q = model.latent
    which = f"{len(chosen)} of the {q} latent dimensions" if len(chosen) < q else f"the {q} latent dimensions"
    if q == 1:
        return f"What the latent dimension of the {type(model).__name__} changes"
    return f"What {'each of ' if len(chosen) > 1 else ''}{which} of the {type(model).__name__} changes"
