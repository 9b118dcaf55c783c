"""Where the rows lie among the latent variables: posterior means in the two most active dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from ....data.rows import as_rows
from ....models.continuous.draws import kl_to_prior
from ...criticism.comparison import Comparison
from ...criticism.gap_report import ACTIVE
from .dots import sign
from .pictures import (
    Scale,
    array,
    comparison_shape,
    continuous,
    known_shape,
    place,
    require_latent,
    required_shape,
    scale_of,
    shades,
    some,
)
from .style import COLOURS, GREY, blank, describe, listed, tidy

SIDES = 16  # pictures that fit along a map
MOST_KINDS = 20  # colours and signs that one can tell apart


@dataclass(frozen=True)
class Latents:
    """Posterior means (n, q) of rows, and the mean KL(q(z_j | x) || p(z_j)) (q,) of each dimension, if known, nats."""

    means: np.ndarray
    kl: np.ndarray | None

    @classmethod
    def of(cls, model: Any, x: torch.Tensor) -> Latents:
        """Those that a model has of these rows."""
        posterior = model.posterior(x)
        apart = kl_to_prior(posterior)
        known = apart is not None and apart.shape[1] == model.latent
        return cls(array(posterior.mean), array(apart).mean(0) if apart is not None and known else None)

    @property
    def activity(self) -> np.ndarray:
        """(q,) how much the posterior means of the rows differ: their variance, of at most about 1."""
        return self.means.var(0)

    @property
    def order(self) -> list[int]:
        """The dimensions, the most active first."""
        return np.argsort(-self.activity, kind="stable").tolist()

    @property
    def shown(self) -> list[int]:
        """The two most active dimensions; the only two in their own order."""
        return sorted(self.order[:2]) if self.means.shape[1] == 2 else self.order[:2]

    @property
    def used(self) -> int:
        """How many dimensions tell rows apart (Burda, Grosse & Salakhutdinov 2016)."""
        return int((self.activity > ACTIVE).sum())

    def name(self, j: int) -> str:
        """What dimension j is called on an axis."""
        return f"latent dimension {j + 1}" + ("" if self.kl is None else f" (KL {self.kl[j]:.2g} nats)")


def latent_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """A map of the rows for each fit with a continuous latent; None if there is none."""
    models = continuous(models)
    if not models:
        return None
    rows = some(comparison.x).x
    found = {name: Latents.of(model, rows) for name, model in models.items()}
    shape = comparison_shape(comparison, models)
    across = 2 if len(models) == 4 else min(len(models), 3)
    down = -(-len(models) // across)
    side = {1: 7.0, 2: 5.6}.get(across, 4.8)
    figure = blank(side * across + 0.2, side * down + 0.7)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(models) :]:
        axes.remove()
    for axes, (name, latents) in zip(grid.flat, found.items(), strict=False):
        _map(axes, latents, latents.shown, array(rows), shape)
        if len(models) > 1:
            axes.set_title(name, fontsize=12, loc="left", fontweight="bold")
    return describe(figure, _takeaway(found), _reading(found.values(), array(rows) if shape else None))


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
    require_latent(model, "latent_map")
    kinds, codes = (None, None) if colors is None else np.unique(np.asarray(colors), return_inverse=True)
    rows = as_rows(x, model=model)
    if codes is not None:
        if codes.shape != (len(rows),):
            raise ValueError(f"colors has shape {codes.shape}, expected ({len(rows)},): a label of each row")
        rows = as_rows(x, labels=codes, model=model)
    if kinds is not None and len(kinds) > MOST_KINDS:
        raise ValueError(f"colors has {len(kinds)} different labels, expected at most {MOST_KINDS}")
    size = known_shape(model, rows.columns) if shape is None else required_shape(model, shape, rows.features)
    chunk = some(rows)
    latents = Latents.of(model, chunk.x)
    shown = latents.shown if dimensions is None else require_dimensions(model, dimensions, 2)
    figure = blank(7.4 if kinds is None else 8.2, 7.2)
    values = array(chunk.x)
    labels = None if kinds is None or chunk.labels is None else kinds[chunk.labels.numpy()]
    _map(figure.subplots(), latents, shown, values, size if kinds is None else None, labels)
    pictures = values if size and kinds is None else None
    return describe(figure, _takeaway({f"the {type(model).__name__}": latents}), _reading([latents], pictures))


def require_dimensions(model: Any, dimensions: Sequence[int], exactly: int | None = None) -> list[int]:
    """The latent dimensions named. Raises ValueError for others than there are, or another number of them."""
    found = [int(j) for j in dimensions]
    wrong = [j for j in found if not 0 <= j < model.latent]
    if wrong or not found or len(set(found)) < len(found) or exactly not in (None, len(found)):
        count = "some" if exactly is None else str(exactly)
        raise ValueError(
            f"dimensions is {found}, expected {count} of 0 to {model.latent - 1}, each once: they count from 0, as the "
            "columns of transform(x) do"
        )
    return found


def _map(
    axes: Axes,
    latents: Latents,
    shown: Sequence[int],
    x: np.ndarray,
    shape: tuple[int, int] | None,
    kinds: np.ndarray | None = None,
) -> None:
    tidy(axes)
    if len(shown) == 1:
        _one_dimension(axes, latents, shown[0])
        return
    at = latents.means[:, shown]
    for radius in (1, 2):
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=GREY, linewidth=1.2, zorder=3))
    reach = max(2.1, float(np.abs(at).max())) * (1.06 if shape is None else 1 + 1.2 / SIDES)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set_title("circles: 1 and 2 s.d. of the prior", loc="right", fontsize=9, color="#555555")
    axes.set(xlabel=latents.name(shown[0]), ylabel=latents.name(shown[1]))
    if kinds is not None:
        _coloured(axes, at, kinds)
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
        _pictures(axes, at, x, shape, reach)


def _pictures(axes: Axes, at: np.ndarray, x: np.ndarray, shape: tuple[int, int], reach: float) -> None:
    """Rows as pictures in their places, as many as do not overlap."""
    scale = scale_of(x)
    side = 2 * reach / SIDES
    width, height = (side, side * shape[0] / shape[1]) if shape[0] <= shape[1] else (side * shape[1] / shape[0], side)
    taken = np.empty((0, 2))
    for place_at, values in zip(at, x, strict=True):
        if (np.abs(taken - place_at) < [1.04 * width, 1.04 * height]).all(1).any():
            continue
        taken = np.vstack([taken, place_at])
        left, low = place_at - [width / 2, height / 2]
        place(axes, values.reshape(shape), left, low, width, scale)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")


def _coloured(axes: Axes, at: np.ndarray, kinds: np.ndarray) -> None:
    """Dots by their label, each kind with its colour and sign, and its name in its middle."""
    names = np.unique(kinds)
    # of more kinds than the house has colours, as many as a map has, no two alike
    hues = COLOURS if len(names) <= len(COLOURS) else [colormaps["tab20"](j % 20) for j in range(len(names))]
    for j, name in enumerate(names):
        mine = at[kinds == name]
        axes.plot(
            *mine.T, sign(j), color=hues[j], markersize=5, alpha=0.6, markeredgewidth=0, label=str(name),
            zorder=2, rasterized=True,
        )  # fmt: skip
        middle = axes.annotate(str(name), tuple(np.median(mine, 0)), ha="center", va="center", weight="bold", zorder=7)
        middle.set_fontsize(13)
        middle.set_path_effects([withStroke(linewidth=3, foreground="white")])
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, markerscale=1.6)


def _one_dimension(axes: Axes, latents: Latents, j: int) -> None:
    means = latents.means[:, j]
    reach = max(3.0, float(np.abs(means).max()))
    grid = np.linspace(-reach, reach, 400)
    axes.hist(means, bins=max(10, min(60, int(2 * np.sqrt(len(means))))), density=True, color="#dcdcdc", label="rows")
    density = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
    axes.plot(grid, density, color=GREY, linewidth=2, label="prior")
    axes.set(xlabel=latents.name(j), ylabel="density of posterior means")
    axes.legend(frameon=False)


def _takeaway(found: dict[str, Latents]) -> str:
    idle = {name: latents for name, latents in found.items() if latents.used < len(latents.activity)}
    if not idle:
        one = len(found) == 1
        every = next(iter(found.values())).activity
        which = "its latent dimension" if one and len(every) == 1 else "all latent dimensions"
        where = f"Where {listed(list(found), len(found))} put{'s' if one else ''} the rows"
        return f"{where}: {which} in use"
    if len(idle) > 3:
        return f"{listed(list(idle), len(found))} leave latent dimensions unused"
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
    scale: Scale | None = None if pictures is None or not plane else scale_of(pictures)
    return said + (f" {shades(scale)}" if scale else "")
