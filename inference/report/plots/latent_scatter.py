"""One panel of a latent map: rows as dots, pictures or coloured labels in two latent dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from .dot_plot import component_marker
from .latent_means import LatentMeans
from .picture_grid import draw_picture
from .picture_shape import value_range
from .style import COLOURS, GREY, despine

PICTURES_ACROSS = 16  # pictures that fit side by side in a panel


def draw_latent_panel(
    axes: Axes,
    latents: LatentMeans,
    shown: Sequence[int],
    x: np.ndarray,
    shape: tuple[int, int] | None,
    kinds: np.ndarray | None = None,
) -> None:
    """Draw rows x at their posterior means in the shown dimensions, one or two.

    shape: (height, width) of the rows as pictures, some of which are drawn. kinds: (n,) labels, which
    are drawn in colour instead.
    """
    despine(axes)
    if len(shown) == 1:
        _draw_histogram(axes, latents, shown[0])
        return
    at = latents.means[:, shown]
    for radius in (1, 2):
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=GREY, linewidth=1.2, zorder=3))
    reach = max(2.1, float(np.abs(at).max())) * (1.06 if shape is None else 1 + 1.2 / PICTURES_ACROSS)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set_title("circles: 1 and 2 s.d. of the prior", loc="right", fontsize=9, color="#555555")
    axes.set(xlabel=latents.label(shown[0]), ylabel=latents.label(shown[1]))
    if kinds is not None:
        _draw_labels(axes, at, kinds)
        return
    axes.scatter(
        *at.T,
        s=9 if len(at) > 500 else 20,
        color=GREY,
        alpha=0.25 if shape else 0.5,
        linewidths=0,
        zorder=2,
        rasterized=True,
    )
    if shape is not None:
        _draw_pictures(axes, at, x, shape, reach)


def _draw_pictures(axes: Axes, at: np.ndarray, x: np.ndarray, shape: tuple[int, int], reach: float) -> None:
    """Draw rows as pictures at their positions, as many as do not overlap."""
    scale = value_range(x)
    side = 2 * reach / PICTURES_ACROSS
    width, height = (side, side * shape[0] / shape[1]) if shape[0] <= shape[1] else (side * shape[1] / shape[0], side)
    drawn = np.empty((0, 2))
    for center, values in zip(at, x, strict=True):
        if (np.abs(drawn - center) < [1.04 * width, 1.04 * height]).all(1).any():
            continue
        drawn = np.vstack([drawn, center])
        left, low = center - [width / 2, height / 2]
        draw_picture(axes, values.reshape(shape), left, low, width, scale)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")


def _draw_labels(axes: Axes, at: np.ndarray, kinds: np.ndarray) -> None:
    """Draw dots with a colour and a marker for each label, and the label at the median of its dots."""
    names = np.unique(kinds)
    # more labels than COLOURS need a colour map, in which all colours differ
    hues = COLOURS if len(names) <= len(COLOURS) else [colormaps["tab20"](j % 20) for j in range(len(names))]
    for j, name in enumerate(names):
        mine = at[kinds == name]
        axes.plot(
            *mine.T, component_marker(j), color=hues[j], markersize=5, alpha=0.6, markeredgewidth=0, label=str(name),
            zorder=2, rasterized=True,
        )  # fmt: skip
        middle = axes.annotate(str(name), tuple(np.median(mine, 0)), ha="center", va="center", weight="bold", zorder=7)
        middle.set_fontsize(13)
        middle.set_path_effects([withStroke(linewidth=3, foreground="white")])
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, markerscale=1.6)


def _draw_histogram(axes: Axes, latents: LatentMeans, j: int) -> None:
    """Draw the posterior means of a single dimension as a histogram under the prior."""
    means = latents.means[:, j]
    reach = max(3.0, float(np.abs(means).max()))
    grid = np.linspace(-reach, reach, 400)
    axes.hist(means, bins=max(10, min(60, int(2 * np.sqrt(len(means))))), density=True, color="#dcdcdc", label="rows")
    density = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
    axes.plot(grid, density, color=GREY, linewidth=2, label="prior")
    axes.set(xlabel=latents.label(j), ylabel="density of posterior means")
    axes.legend(frameon=False)
