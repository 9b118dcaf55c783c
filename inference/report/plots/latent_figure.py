"""The rows in the latent space: their posterior means in the two most active dimensions."""

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

MOST_LABELS = 20  # of which colours and markers can be distinguished


def latent_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """A map of the rows for each model with a continuous latent variable; None if there is none."""
    able = with_continuous_latent(models)
    if not able:
        return None
    rows = rows_to_draw(comparison.x).x
    found = {name: LatentMeans.of(model, rows) for name, model in able.items()}
    shape = comparison_shape(comparison, able)
    across = 2 if len(able) == 4 else min(len(able), 3)
    down = -(-len(able) // across)
    side = {1: 7.0, 2: 5.6}.get(across, 4.8)
    figure = blank_figure(side * across + 0.2, side * down + 0.7)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(able) :]:
        axes.remove()
    for axes, (name, latents) in zip(grid.flat, found.items(), strict=False):
        draw_latent_panel(axes, latents, latents.shown, to_numpy(rows), shape)
        if len(able) > 1:
            axes.set_title(name, fontsize=12, loc="left", fontweight="bold")
    return set_title_and_caption(
        figure, _title(found), _caption(list(found.values()), to_numpy(rows) if shape else None)
    )


def latent_map(
    model: Any,
    x: Any,
    colors: Any = None,
    dimensions: Sequence[int] | None = None,
    shape: Sequence[int] | None = None,
) -> Figure:
    """Draw the rows of x in two latent dimensions: their posterior means, `model.transform(x)`.

    From a table with more than 2000 rows, a sample of 2000 is drawn. Rows that are pictures are drawn as pictures where
    they do not overlap, unless colors are given. Grey circles are 1 and 2 standard deviations of the prior. A model
    with one latent dimension has a histogram.

    Args:
        model: A fitted model with a continuous latent variable, such as `PPCA` or `VAE`.
        x: Rows, as for `fit`.
        colors: (n,) a label of each row, with at most 20 different labels; dots are coloured by it.
        dimensions: Two latent dimensions, counted from 0; by default the two whose posterior means vary most.
        shape: (height, width) of a picture; by default known if the columns are named pixel_0_0, pixel_0_1, ...

    Returns:
        A matplotlib figure.

    Raises:
        TypeError: The model has no continuous latent variable.
        ValueError: colors, dimensions or shape do not match x and the model.

    Example:
        >>> from lowerbound import datasets
        >>> from lowerbound.inference.plots import latent_map
        >>> from lowerbound.models import PPCA
        >>> x = datasets.load("iris")
        >>> figure = latent_map(PPCA.closed_form(x, 2), x)
        >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
        ('latent dimension 1', 'latent dimension 2')
    """
    require_continuous_latent(model, "latent_map")
    kinds, codes = (None, None) if colors is None else np.unique(np.asarray(colors), return_inverse=True)
    rows = as_rows(x, model=model)
    if codes is not None:
        if codes.shape != (len(rows),):
            raise ValueError(f"colors has shape {codes.shape}, expected ({len(rows)},): a label of each row")
        rows = as_rows(x, labels=codes, model=model)
    if kinds is not None and len(kinds) > MOST_LABELS:
        raise ValueError(f"colors has {len(kinds)} different labels, expected at most {MOST_LABELS}")
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
        figure, _title({f"the {type(model).__name__}": latents}), _caption([latents], pictures)
    )


def _title(found: dict[str, LatentMeans]) -> str:
    """How many latent dimensions are active in each fit."""
    unused = {name: latents for name, latents in found.items() if latents.used < len(latents.activity)}
    if not unused:
        one = len(found) == 1
        activity = next(iter(found.values())).activity
        which = "its latent dimension" if one and len(activity) == 1 else "all latent dimensions"
        return _capitalized(f"{join_names(list(found), len(found))} use{'s' if one else ''} {which}")
    if len(unused) > 3:
        return f"{join_names(list(unused), len(found))} leave latent dimensions unused"
    counts = [f"{latents.used} of {len(latents.activity)} latent dimensions" for latents in unused.values()]
    words = ", ".join(f"{name} uses {each}" for name, each in zip(unused, counts, strict=True))
    return _capitalized(words)


def _capitalized(words: str) -> str:
    """A capital letter for "the"; names of fits stay as they are."""
    return words[0].upper() + words[1:] if words.startswith("the ") else words


def _caption(found: list[LatentMeans], pictures: np.ndarray | None) -> str:
    """How to read the map. pictures: the rows, if they are drawn as pictures."""
    more_than_two = max(len(latents.activity) for latents in found) > 2
    plane = any(len(latents.activity) > 1 for latents in found)
    caption = "Each dot is a row at its posterior mean"
    if pictures is not None and plane:
        caption += ", and some are drawn there as pictures: rows that are similar under the model are close"
    caption += f". A dimension is in use if the variance of these means is above {ACTIVE}"
    caption += "; of more than two dimensions the two with the largest variance are drawn." if more_than_two else "."
    if plane:
        caption += " The circles are 1 and 2 standard deviations of the prior."
    if any(latents.kl is not None for latents in found):
        caption += " KL is the mean over rows of KL(posterior, prior) in a dimension."
    scale: ValueRange | None = None if pictures is None or not plane else value_range(pictures)
    return caption + (f" {value_range_note(scale)}" if scale else "")
