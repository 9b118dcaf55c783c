"""What the latent variables keep of a row: the row, and the decoder's mean at its posterior mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ....data.rows import as_rows
from ...criticism.compare import DENSITY, measures
from ...criticism.comparison import Comparison
from ..text_table import format_number
from .component_ellipses import MATRIX_COLUMNS
from .drawn_rows import rows_to_draw, to_numpy
from .latent_models import require_continuous_latent, with_continuous_latent
from .picture_grid import ACROSS, picture_grid
from .picture_shape import ValueRange, comparison_shape, known_shape, required_shape, value_range, value_range_note
from .style import GREY, blank_figure, despine, fit_style, set_title_and_caption


def reconstructions_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """Pixels: a strip of rows, and below it what each fit with a continuous latent makes of them. Up to 4 columns of
    measurements: each against its reconstruction. None of other columns and without such fits."""
    models = with_continuous_latent(models)
    if not models:
        return None
    shape = comparison_shape(comparison, models)
    columns = comparison.x.columns
    first = next(iter(models.values()))
    if shape is None:
        few = 2 <= len(columns) <= MATRIX_COLUMNS
        if not few or any(measure != DENSITY for measure in measures(first, comparison.x)):
            return None
    return _draw_reconstructions(models, rows_to_draw(comparison.x).x, shape, columns)


def reconstructions(model: Any, x: Any, shape: Sequence[int] | None = None) -> Figure:
    """Rows of x above what a model with a continuous latent makes of them: `model.reconstruct(x)`, as pictures.

    Of many rows 12 are drawn, always the same; the error is that of up to 2000. shape: (height, width) of a picture, by
    default that of columns named pixel_0_0, pixel_0_1, ... Tables of up to 4 columns that are no pictures: each column
    against its reconstruction. Raises TypeError for a model without `reconstruct`, ValueError for columns without a
    known shape.
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
    x = to_numpy(rows)
    made = {name: to_numpy(model.reconstruct(rows)) for name, model in models.items()}
    errors = {name: float(np.sqrt(np.mean((values - x) ** 2))) for name, values in made.items()}
    if shape is None:
        return _scatter(models, x, made, columns)
    scale = value_range(x)
    strips = [(f"{name}\n{_latent_size(models[name])}", values[:ACROSS]) for name, values in made.items()]
    figure, _ = picture_grid([("data", x[:ACROSS]), *strips], shape, scale, apart=True)
    return set_title_and_caption(
        figure,
        _takeaway(models, errors, scale),
        "Each column of pictures is a row of the data, and below it what is left of it when it goes through the latent "
        f"dimensions of a fit and back: the decoder's mean at the posterior mean. {value_range_note(scale)}",
    )


def _scatter(models: dict[str, Any], x: np.ndarray, made: dict[str, np.ndarray], columns: Sequence[str]) -> Figure:
    d = len(columns)
    figure = blank_figure(2.5 * d + 1, 2.6 * len(models) + 1)
    grid = figure.subplots(len(models), d, squeeze=False)
    for i, (panels, (name, values)) in enumerate(zip(grid, made.items(), strict=True)):
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
    kept = {name: _variance_kept(x, values) for name, values in made.items()}
    best = max(kept, key=lambda name: kept[name].mean())
    most, least = int(kept[best].argmax()), int(kept[best].argmin())
    return set_title_and_caption(
        figure,
        f"{best}, with {_latent_size(models[best])}, keeps most of {columns[most]}, least of {columns[least]}",
        "Each dot is a row: across, what it holds in a column, and up, what is left of it when it goes through the "
        "latent dimensions and back. On the grey line nothing is lost; the share kept is that of the variance.",
    )


def _variance_kept(x: np.ndarray, made: np.ndarray) -> np.ndarray:
    """The share of each column's variance that is not lost."""
    variance = x.var(0)
    return 1 - ((x - made) ** 2).mean(0) / np.where(variance > 0, variance, 1)


def _latent_size(model: Any) -> str:
    return f"{model.latent} latent dimension{'s' if model.latent > 1 else ''}"


def _takeaway(models: dict[str, Any], errors: dict[str, float], scale: ValueRange) -> str:
    best = min(errors, key=lambda name: errors[name])
    off = {name: format_number(error, "{:.2g}") for name, error in errors.items()}
    said = f"pixels ({scale[0]:.3g} to {scale[1]:.3g}) are off by {off[best]} in root mean square"
    if len(models) == 1:
        return f"What {best} keeps of a row in {_latent_size(models[best])}: {said}"
    others = ", ".join(f"those of {name} by {error}" for name, error in off.items() if name != best)
    return f"{best} comes closest to the rows: its {said}" + (f", {others}" if len(models) <= 3 else "")
