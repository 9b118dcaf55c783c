"""Rows and their reconstructions: the mean of p(x | z) at the posterior mean of z."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ....data.rows import as_rows
from ...criticism.comparison import Comparison
from ...criticism.density_or_probability import DENSITY, column_measures
from ..text_table import format_number
from .component_ellipses import MATRIX_COLUMNS
from .drawn_rows import rows_to_draw, to_numpy
from .latent_models import require_continuous_latent, with_continuous_latent
from .picture_grid import ACROSS, picture_grid
from .picture_shape import ValueRange, comparison_shape, known_shape, required_shape, value_range, value_range_note
from .style import GREY, blank_figure, despine, fit_style, set_title_and_caption


def reconstructions_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """Pixels: rows, and below them their reconstructions by each model with a continuous latent variable. Two to four
    columns of measurements: each column against its reconstruction.

    None for other columns, and without such models.
    """
    able = with_continuous_latent(models)
    if not able:
        return None
    shape = comparison_shape(comparison, able)
    columns = comparison.x.columns
    first = next(iter(able.values()))
    if shape is None:
        few = 2 <= len(columns) <= MATRIX_COLUMNS
        if not few or any(measure != DENSITY for measure in column_measures(first, comparison.x)):
            return None
    return _draw_reconstructions(able, rows_to_draw(comparison.x).x, shape, columns)


def reconstructions(model: Any, x: Any, shape: Sequence[int] | None = None) -> Figure:
    """Draw rows of x and their reconstructions, `model.reconstruct(x)`.

    Rows that are pictures are drawn above their reconstructions: 12 rows, the same in each call. A table of up to 4
    other columns has each column against its reconstruction. The errors in the title are those of at most 2000 rows.

    Args:
        model: A fitted model with a continuous latent variable, such as `PPCA` or `VAE`.
        x: Rows, as for `fit`.
        shape: (height, width) of a picture; by default known if the columns are named pixel_0_0, pixel_0_1, ...

    Returns:
        A matplotlib figure.

    Raises:
        TypeError: The model has no continuous latent variable.
        ValueError: There are more than 4 columns and the shape is unknown, or shape does not match the columns.

    Example:
        >>> from lowerbound import datasets
        >>> from lowerbound.inference.plots import reconstructions
        >>> from lowerbound.models import PPCA
        >>> x = datasets.load("iris")
        >>> figure = reconstructions(PPCA.closed_form(x, 2), x)
        >>> [axes.get_title() for axes in figure.axes]
        ['95 % kept', '81 % kept', '100 % kept', '94 % kept']
    """
    require_continuous_latent(model, "reconstructions")
    rows = as_rows(x, model=model)
    size = known_shape(model, rows.columns) if shape is None else None
    if size is None and (shape is not None or rows.features > MATRIX_COLUMNS):
        size = required_shape(model, shape, rows.features)
    return _draw_reconstructions({type(model).__name__: model}, rows_to_draw(rows).x, size, rows.columns)


def _draw_reconstructions(
    models: dict[str, Any], rows: torch.Tensor, shape: tuple[int, int] | None, columns: Sequence[str]
) -> Figure:
    """The figure of these rows: pictures if their shape is known, else scatter plots."""
    x = to_numpy(rows)
    reconstructed = {name: to_numpy(model.reconstruct(rows)) for name, model in models.items()}
    errors = {name: float(np.sqrt(np.mean((values - x) ** 2))) for name, values in reconstructed.items()}
    if shape is None:
        return _scatter(models, x, reconstructed, columns)
    scale = value_range(x)
    strips = [(f"{name}\n{_latent_size(models[name])}", values[:ACROSS]) for name, values in reconstructed.items()]
    figure, _ = picture_grid([("data", x[:ACROSS]), *strips], shape, scale, apart=True)
    return set_title_and_caption(
        figure,
        _title(models, errors, scale),
        "Each column of pictures is a row of the data, and below it its reconstructions: the mean of p(x | z) at the "
        f"posterior mean of z, for each fit. {value_range_note(scale)}",
    )


def _scatter(
    models: dict[str, Any], x: np.ndarray, reconstructed: dict[str, np.ndarray], columns: Sequence[str]
) -> Figure:
    """Each column against its reconstruction, one row of panels for each fit."""
    d = len(columns)
    figure = blank_figure(2.5 * d + 1, 2.6 * len(models) + 1)
    grid = figure.subplots(len(models), d, squeeze=False)
    for i, (panels, (name, values)) in enumerate(zip(grid, reconstructed.items(), strict=True)):
        for j, axes in enumerate(panels):
            low, high = value_range(np.stack([x[:, j], values[:, j]]))
            despine(axes).plot([low, high], [low, high], color=GREY, linewidth=1, zorder=1)
            axes.plot(
                x[:, j], values[:, j], ".", color=fit_style(i, len(models)).color, markersize=7, alpha=0.6,
                markeredgewidth=0, rasterized=True,
            )  # fmt: skip
            axes.set_title(f"{100 * _variance_kept(x, values)[j]:.0f} % kept", fontsize=10)
            axes.set_xlabel(columns[j])
        panels[0].set_ylabel(f"{name}\nreconstruction")
    kept = {name: _variance_kept(x, values) for name, values in reconstructed.items()}
    best = max(kept, key=lambda name: kept[name].mean())
    most, least = int(kept[best].argmax()), int(kept[best].argmin())
    return set_title_and_caption(
        figure,
        f"{best}, with {_latent_size(models[best])}, keeps most of {columns[most]}, least of {columns[least]}",
        "Each dot is a row: across its value in a column, and up its reconstruction, the mean of p(x | z) at the "
        "posterior mean of z. On the grey line both are equal. The share kept is the explained share of the variance.",
    )


def _variance_kept(x: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """(d,) the share of the variance of each column that the reconstruction explains."""
    variance = x.var(0)
    return 1 - ((x - reconstructed) ** 2).mean(0) / np.where(variance > 0, variance, 1)


def _latent_size(model: Any) -> str:
    """The number of latent dimensions, in words."""
    return f"{model.latent} latent dimension{'s' if model.latent > 1 else ''}"


def _title(models: dict[str, Any], errors: dict[str, float], scale: ValueRange) -> str:
    """Which fit reconstructs best, and the root mean square error of each."""
    best = min(errors, key=lambda name: errors[name])
    error_of = {name: format_number(error, "{:.2g}") for name, error in errors.items()}
    sentence = f"pixels ({scale[0]:.3g} to {scale[1]:.3g}) are off by {error_of[best]} in root mean square"
    if len(models) == 1:
        return f"Reconstructions by {best} from {_latent_size(models[best])}: {sentence}"
    others = ", ".join(f"those of {name} by {error}" for name, error in error_of.items() if name != best)
    return f"{best} comes closest to the rows: its {sentence}" + (f", {others}" if len(models) <= 3 else "")
