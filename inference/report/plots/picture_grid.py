"""Small pictures in rows, of tables whose columns are pixels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from .picture_shape import ValueRange
from .style import blank_figure

INK = colormaps["Greys"].with_extremes(bad="#F0E442")  # white to black: darker is more; yellow where missing
ACROSS = 12  # pictures side by side
GAP = 0.12  # between pictures, in widths of a picture
DATA_GAP = 0.25  # additional gap below the rows of the data
FRAME = "#c8c8c8"
PictureRow = tuple[str, np.ndarray]  # a name, and pictures (n, d)


def picture_grid(
    rows: Sequence[PictureRow], shape: tuple[int, int], scale: ValueRange, apart: bool = False, largest: float = 0.75
) -> tuple[Figure, Axes]:
    """A figure with rows of pictures, one below the other, each with its name on the left.

    apart: whether the first row is of the data, with an additional gap below it. largest: width of a picture in inches,
    at most.
    """
    across = max(len(pictures) for _, pictures in rows)
    side = min(8.4 / (across * (1 + GAP)), largest)
    tall = shape[0] / shape[1] + GAP
    tops = [i * tall + DATA_GAP * (apart and i > 0) for i in range(len(rows))]
    figure = blank_figure(side * across * (1 + GAP) + 1.6, (tops[-1] + tall) * side + 0.7)
    axes = figure.subplots()
    for i, (_, pictures) in enumerate(rows):
        for j, values in enumerate(pictures):
            draw_picture(axes, values.reshape(shape), j * (1 + GAP), tops[i], 1.0, scale, down=True)
    names = [textwrap.fill(name, 18) if "\n" not in name else name for name, _ in rows]
    axes.set_yticks([top + (tall - GAP) / 2 for top in tops], names)
    if apart:
        axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set(xlim=(-GAP, across * (1 + GAP)), ylim=(tops[-1] + tall, -GAP), xticks=[], aspect="equal")
    hide_frame(axes)
    return figure, axes


def draw_picture(
    axes: Axes, values: np.ndarray, left: float, low: float, width: float, scale: ValueRange, down: bool = False
) -> AxesImage:
    """Draw one picture with a thin frame.

    (left, low) is its lower left corner, or with `down`, on an axis that points down, its upper left corner.
    """
    height = width * values.shape[0] / values.shape[1]
    extent = (left, left + width, low + height, low) if down else (left, left + width, low, low + height)
    image = axes.imshow(
        values, cmap=INK, vmin=scale[0], vmax=scale[1], extent=extent, interpolation="nearest", zorder=4
    )
    axes.add_patch(Rectangle((left, low), width, height, fill=False, edgecolor=FRAME, linewidth=0.7, zorder=5))
    return image


def hide_frame(axes: Axes) -> Axes:
    """Remove the frame and the tick marks; tick labels stay."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return axes
