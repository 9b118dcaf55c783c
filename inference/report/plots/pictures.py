"""Small pictures side by side, of tables whose columns are pixels: rows, and what models make of them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.distributions import constraints

from ....data.chunk import Chunk
from ....models import Rows
from ....models.continuous.distribution_views import mean_or_mode
from ....models.continuous.networks import evaluation_mode
from ....models.random_state import fixed_seed
from .panels import picture
from .style import blank

INK = colormaps["Greys"].with_extremes(bad="#F0E442")  # white to black: darker is more; yellow where missing
ACROSS = 12  # pictures that one takes in at a glance
GAP = 0.12  # between pictures, in their widths
APART = 0.25  # and more of it below the rows of the data
DRAWN_ROWS = 2000
FRAME = "#c8c8c8"
LATENT = ("decode", "transform", "reconstruct", "latent")  # what a model with a continuous latent has

Strip = tuple[str, np.ndarray]  # a name, and pictures (n, d)
Scale = tuple[float, float]  # the numbers that are white and black


def known_shape(model: Any, columns: Sequence[str] | None = None) -> tuple[int, int] | None:
    """(height, width) of the pictures that rows are: by the names of the columns, those that the model remembers unless
    given, else as its encoder takes them; None where they are no pictures."""
    names = getattr(getattr(model, "schema", None), "columns", ()) if columns is None else columns
    found = picture(list(names))
    convolved = getattr(getattr(model, "encoder", None), "shape", ())
    if found is None and len(convolved) == 3 and convolved[0] == 1:
        found = (int(convolved[1]), int(convolved[2]))
    return found


def required_shape(model: Any, shape: Sequence[int] | None, features: int) -> tuple[int, int]:
    """(height, width) as given or known. Raises ValueError where neither tells, or it is not of so many columns."""
    found = known_shape(model) if shape is None else tuple(shape)
    if found is None:
        side = math.isqrt(features)
        example = (side, side) if side * side == features else (8, 8)
        raise ValueError(
            f"the columns of this {type(model).__name__} have no names like pixel_0_0, pixel_0_1, ..., expected the "
            f"size of the pictures that its rows are: pass shape=(height, width), such as shape={example}"
        )
    if len(found) != 2 or math.prod(found) != features:
        raise ValueError(
            f"shape is {found}, expected the (height, width) of pictures of {features} pixels, as many as columns"
        )
    return found


def comparison_shape(comparison: Any, models: dict[str, Any]) -> tuple[int, int] | None:
    """That of the rows of a comparison, None if they are no pictures."""
    names = comparison.x.columns
    found = (known_shape(model, names) for model in models.values())
    return next((shape for shape in found if shape is not None and math.prod(shape) == len(names)), None)


def scale_of(x: np.ndarray) -> Scale:
    """From the smallest to the largest number there is."""
    low, high = float(np.nanmin(x)), float(np.nanmax(x))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def model_scale(model: Any, means: np.ndarray) -> Scale:
    """Without data: from 0 to 1 where the model gives such numbers, else that of what is drawn."""
    support: Any = decoded(model, torch.zeros(1, model.latent)).support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    unit = isinstance(support, (type(constraints.boolean), type(constraints.unit_interval)))
    return (0.0, 1.0) if unit else scale_of(means)


def some(rows: Rows) -> Chunk:
    """Rows of positive weight in random order with their labels, at most 2000, the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    with fixed_seed(0):  # of a table that draws its rows
        chunk = rows.sample(generator, DRAWN_ROWS)
    order = torch.randperm(len(chunk.x), generator=generator)
    if chunk.weights is not None:
        order = order[chunk.weights[order] > 0]
    return Chunk(chunk.x[order], None, None if chunk.labels is None else chunk.labels[order])


def array(x: Tensor) -> np.ndarray:
    """Numbers to draw, from whatever precision and device."""
    return x.detach().cpu().double().numpy()


def decoded(model: Any, z: Tensor) -> Any:
    """p(x | z) for z of any precision and device."""
    own = next(model.parameters(), z)
    with torch.no_grad(), evaluation_mode(model):
        return model.decode(z.to(own.device, own.dtype))


def decoded_mean(model: Any, z: Tensor) -> np.ndarray:
    """The mean of p(x | z), of categories the likeliest."""
    return array(mean_or_mode(decoded(model, z)))


def continuous(models: dict[str, Any]) -> dict[str, Any]:
    """Those with a continuous latent."""
    return {name: model for name, model in models.items() if all(hasattr(model, method) for method in LATENT)}


def require_latent(model: Any, wanted: str) -> None:
    """Raise TypeError for a model without a continuous latent."""
    lacks = [name for name in LATENT if not hasattr(model, name)]
    if lacks:
        raise TypeError(
            f"{wanted} needs a model with a continuous latent, which has `{lacks[0]}`, got a {type(model).__name__}: "
            "pass a PPCA or a VAE, such as fit(...).model"
        )


def sheet(
    strips: Sequence[Strip], shape: tuple[int, int], scale: Scale, apart: bool = False, largest: float = 0.75
) -> tuple[Figure, Axes]:
    """A figure of strips of pictures at most so many inches wide, one below the other, each with its name on the left.

    apart: the first, of the data, a little apart from those that models made.
    """
    across = max(len(pictures) for _, pictures in strips)
    side = min(8.4 / (across * (1 + GAP)), largest)
    tall = shape[0] / shape[1] + GAP
    tops = [i * tall + APART * (apart and i > 0) for i in range(len(strips))]
    figure = blank(side * across * (1 + GAP) + 1.6, (tops[-1] + tall) * side + 0.7)
    axes = figure.subplots()
    for i, (_, pictures) in enumerate(strips):
        for j, values in enumerate(pictures):
            place(axes, values.reshape(shape), j * (1 + GAP), tops[i], 1.0, scale, down=True)
    names = [textwrap.fill(name, 18) if "\n" not in name else name for name, _ in strips]
    axes.set_yticks([top + (tall - GAP) / 2 for top in tops], names)
    if apart:
        axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set(xlim=(-GAP, across * (1 + GAP)), ylim=(tops[-1] + tall, -GAP), xticks=[], aspect="equal")
    bare(axes)
    return figure, axes


def place(
    axes: Axes, values: np.ndarray, left: float, low: float, width: float, scale: Scale, down: bool = False
) -> AxesImage:
    """One picture with a thin frame, its lower left corner (down: on an axis that points down, the upper one) here."""
    height = width * values.shape[0] / values.shape[1]
    extent = (left, left + width, low + height, low) if down else (left, left + width, low, low + height)
    image = axes.imshow(
        values, cmap=INK, vmin=scale[0], vmax=scale[1], extent=extent, interpolation="nearest", zorder=4
    )
    axes.add_patch(Rectangle((left, low), width, height, fill=False, edgecolor=FRAME, linewidth=0.7, zorder=5))
    return image


def bare(axes: Axes) -> Axes:
    """No lines around it, and names in place of ticks."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return axes


def shades(scale: Scale) -> str:
    """What the shades say."""
    return f"White is {scale[0]:.3g} or less, black {scale[1]:.3g} or more."
