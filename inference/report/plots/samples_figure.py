"""Rows drawn from models, as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...criticism.comparison import Comparison
from ...fitting.fit_arguments import require_model
from .drawn_rows import rows_to_draw, to_numpy
from .picture_grid import ACROSS, picture_grid
from .picture_shape import comparison_shape, required_shape, value_range, value_range_note
from .style import join_names, set_title_and_caption


def samples_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """Rows of the data, and below them rows drawn from each fit. None unless the columns are pixels."""
    shape = comparison_shape(comparison, models)
    if shape is None:
        return None
    x = to_numpy(rows_to_draw(comparison.x).x)
    scale = value_range(x)
    missing = " Yellow is missing." if np.isnan(x[:ACROSS]).any() else ""
    drawn = [(name, to_numpy(model.sample(ACROSS, seed=0))) for name, model in models.items()]
    figure, _ = picture_grid([("data", x[:ACROSS]), *drawn], shape, scale, apart=True)
    return set_title_and_caption(
        figure,
        f"{join_names(list(models), len(models))} draw{'s' if len(models) == 1 else ''} rows like these",
        "The first line shows rows of the data, each other line rows drawn from a fitted model. The better the model, "
        f"the more they look like the data. {value_range_note(scale)}{missing}",
    )


def samples(model: Any, n: int = 48, shape: Sequence[int] | None = None, seed: int = 0) -> Figure:
    """Draw rows from a model, `model.sample(n, seed=seed)`, and show them as pictures.

    Args:
        model: A fitted model of any kind.
        n: Number of rows.
        shape: (height, width) of a picture; by default known if the columns that the model was fitted to are named
            pixel_0_0, pixel_0_1, ...
        seed: The same seed gives the same rows.

    Returns:
        A matplotlib figure.

    Raises:
        TypeError: `model` is not a model, such as a fit.
        ValueError: The shape is unknown or does not match the columns.

    Example:
        >>> from lowerbound import datasets
        >>> from lowerbound.inference.plots import samples
        >>> from lowerbound.models import PPCA
        >>> model = PPCA.closed_form(datasets.load("digits").iloc[:200], 5)
        >>> samples(model, 6).get_suptitle()
        '6 rows drawn from the PPCA'
    """
    require_model(model)
    x = to_numpy(model.sample(n, seed=seed))
    size = required_shape(model, shape, x.shape[1])
    limits = np.quantile(x, [0.01, 0.99])  # quantiles, so that pictures with unbounded noise have contrast, too
    scale = (float(limits[0]), float(limits[1])) if limits[0] < limits[1] else value_range(x)
    across = math.ceil(n / math.ceil(n / ACROSS))
    lines = [("", x[start : start + across]) for start in range(0, n, across)]
    figure, _ = picture_grid(lines, size, scale)
    return set_title_and_caption(
        figure,
        f"{n} row{'s' if n > 1 else ''} drawn from the {type(model).__name__}",
        f"Each picture is a row drawn from the model. {value_range_note(scale)}",
    )
