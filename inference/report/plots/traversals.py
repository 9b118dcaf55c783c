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
from matplotlib.ticker import MaxNLocator

from ....data.rows import as_rows
from .latent import Latents, require_dimensions
from .pictures import (
    array,
    bare,
    decoded_mean,
    known_shape,
    model_scale,
    place,
    require_latent,
    required_shape,
    scale_of,
    shades,
    sheet,
    some,
)
from .style import blank, describe, tidy

MOST_DIMENSIONS = 10
MOST_LINES = 40  # columns of a line plot, of rows that are no pictures
GRID = 15  # steps of the plane, each way


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
    require_latent(model, "traversals")
    _require_steps(steps, extent)
    rows = None if x is None else some(as_rows(x, model=model)).x
    latents = None if rows is None else Latents.of(model, rows)
    ends = np.linspace(-extent, extent, steps)
    chosen = list(range(model.latent)) if dimensions is None else require_dimensions(model, dimensions)
    made = {j: decoded_mean(model, _line(model.latent, {j: ends})) for j in chosen}
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
    scale = model_scale(model, whole) if rows is None else scale_of(array(rows))
    figure, axes = sheet([(_name(j, latents), pictures) for j, pictures in made.items()], size, scale)
    middles = [float(np.mean(image.get_extent()[:2])) for image in axes.images[:steps]]
    axes.set_xticks(middles, [f"{end:.2g}" if abs(end) > 1e-9 else "0" for end in ends])
    axes.set_xlabel("standard deviations of the prior")
    return describe(
        figure,
        _takeaway(model, chosen),
        f"Each line is a latent dimension, {_order(dimensions, latents)}: what the decoder gives as it goes from one "
        f"end of the prior to the other, all others at 0. A line of equal pictures: a dimension not in use. "
        f"{shades(scale)}",
    )


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
    require_latent(model, "latent_grid")
    _require_steps(steps, extent)
    if model.latent < 2:
        raise ValueError("the model has one latent dimension, expected two or more: see traversals(model)")
    size = required_shape(model, shape, model.features)
    rows = None if x is None else some(as_rows(x, model=model)).x
    latents = None if rows is None else Latents.of(model, rows)
    ends = np.linspace(-extent, extent, steps)
    if dimensions is not None:
        i, j = require_dimensions(model, dimensions, 2)
    elif model.latent == 2:
        i, j = 0, 1
    elif latents is not None:
        i, j = latents.shown
    else:
        change = [decoded_mean(model, _line(model.latent, {k: ends})).var(0).sum() for k in range(model.latent)]
        i, j = np.argsort(-np.asarray(change), kind="stable")[:2].tolist()
    across, up = (each.ravel() for each in np.meshgrid(ends, ends))
    means = decoded_mean(model, _line(model.latent, {i: across, j: up}))
    scale = model_scale(model, means) if rows is None else scale_of(array(rows))
    tall = size[0] / size[1]
    figure = blank(7.4, 7.4 * min(tall, 1.5) + 0.6)
    axes = bare(figure.subplots())
    for k, values in enumerate(means):
        place(axes, values.reshape(size), k % steps + 0.04, tall * (k // steps + 0.04), 0.92, scale)
    axes.set(xlim=(0, steps), ylim=(0, tall * steps), aspect="equal")
    values = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(-extent, extent))
    ticks = values[np.abs(values) <= extent * (1 + 1e-9)]
    at = (ticks + extent) / (2 * extent) * (steps - 1) + 0.5
    words = [f"{tick:g}" for tick in ticks]
    axes.set_xticks(at, words)
    axes.set_yticks(tall * at, words)
    names = [_name(k, latents).replace("\n", ", ") for k in (i, j)]
    axes.set(xlabel=f"{names[0]} (s.d. of the prior)", ylabel=f"{names[1]} (s.d. of the prior)")
    rest = ", all others at 0" if model.latent > 2 else ""
    return describe(
        figure,
        f"The latent plane of the {type(model).__name__}, as its decoder sees it",
        f"Each picture is what the decoder gives at its place in the plane{rest}. {shades(scale)}",
    )


def _lines(
    model: Any, made: dict[int, np.ndarray], ends: np.ndarray, rows: torch.Tensor | None, latents: Latents | None
) -> Figure:
    """A panel for each dimension: the columns across, their means up, a line for each step."""
    d = model.features
    names = [f"column {j}" for j in range(d)] if model.schema is None else list(model.schema.columns)
    loc, unit = np.zeros(d), np.ones(d)
    if rows is not None:
        x = array(rows)
        loc, unit = x.mean(0), np.where(x.std(0) > 0, x.std(0), 1)
    across = min(len(made), 2 if d > 6 else 3)
    down = -(-len(made) // across)
    figure = blank(max(4.6 if d > 6 else 3.6, 0.2 * d) * across + 1.4, 2.6 * down + 1.2)
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
        tidy(axes).set_title(_name(j, latents).replace("\n", ", "), fontsize=10)
        axes.set_xticks(range(d), names, rotation=90 if d > 4 or max(map(len, names)) > 8 else 0, fontsize=9)
    for axes in shown[-across:]:
        axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("mean of the column" if rows is None else "mean, in s.d. of the data")
    figure.colorbar(ScalarMappable(span, colours), ax=shown, label="latent dimension,\nin s.d. of the prior")
    return describe(
        figure,
        _takeaway(model, list(made)),
        "Each line is a row that the decoder gives, the columns across: dark with a latent dimension at its lower end, "
        "light at its upper end, all others at 0. Where the lines are apart, the dimension changes the column.",
    )


def _line(latent: int, given: dict[int, np.ndarray]) -> torch.Tensor:
    """z (n, latent), 0 but in the dimensions given."""
    z = torch.zeros(len(next(iter(given.values()))), latent, dtype=torch.float64)
    for j, values in given.items():
        z[:, j] = torch.from_numpy(values)
    return z


def _require_steps(steps: int, extent: float) -> None:
    if not isinstance(steps, int) or steps < 2:
        raise ValueError(f"steps is {steps!r}, expected a whole number of at least 2")
    if not 0 < extent < float("inf"):
        raise ValueError(f"extent is {extent!r}, expected standard deviations of the prior, such as 2.5")


def _name(j: int, latents: Latents | None) -> str:
    known = latents is not None and latents.kl is not None
    return f"dimension {j + 1}" + (f"\nKL {latents.kl[j]:.2g} nats" if known else "")  # type: ignore[reportOptionalSubscript, reportOptionalMemberAccess]


def _order(dimensions: Sequence[int] | None, latents: Latents | None) -> str:
    if dimensions is not None:
        return "in the order asked for"
    return "the most active first" if latents is not None else "that which changes most first"


def _takeaway(model: Any, chosen: list[int]) -> str:
    q = model.latent
    which = f"{len(chosen)} of the {q} latent dimensions" if len(chosen) < q else f"the {q} latent dimensions"
    if q == 1:
        return f"What the latent dimension of the {type(model).__name__} changes"
    return f"What {'each of ' if len(chosen) > 1 else ''}{which} of the {type(model).__name__} changes"
