"""What the latent variables keep of a row: the row, and the decoder's mean at its posterior mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ....data.rows import as_rows
from ...criticism.column_measures import DENSITY, column_measures
from ...criticism.comparison import Comparison
from ..comparison_text import number
from .data import MATRIX_COLUMNS
from .pictures import (
    ACROSS,
    Scale,
    array,
    comparison_shape,
    continuous,
    known_shape,
    require_latent,
    required_shape,
    scale_of,
    shades,
    sheet,
    some,
)
from .style import GREY, blank, describe, line, tidy


def reconstructions_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """Pixels: a strip of rows, and below it what each fit with a continuous latent makes of them. Up to 4 columns of
    measurements: each against its reconstruction. None of other columns and without such fits."""
    models = continuous(models)
    if not models:
        return None
    shape = comparison_shape(comparison, models)
    columns = comparison.x.columns
    first = next(iter(models.values()))
    if shape is None:
        few = 2 <= len(columns) <= MATRIX_COLUMNS
        if not few or any(measure != DENSITY for measure in column_measures(first, comparison.x)):
            return None
    return _drawn(models, some(comparison.x).x, shape, columns)


def reconstructions(model: Any, x: Any, shape: Sequence[int] | None = None) -> Figure:
    """Rows of x above what a model with a continuous latent makes of them: `model.reconstruct(x)`, as pictures.

    Of many rows 12 are drawn, always the same; the error is that of up to 2000. shape: (height, width) of a picture, by
    default that of columns named pixel_0_0, pixel_0_1, ... Tables of up to 4 columns that are no pictures: each column
    against its reconstruction. Raises TypeError for a model without `reconstruct`, ValueError for columns without a
    known shape.
    """
    require_latent(model, "reconstructions")
    rows = as_rows(x, model=model)
    size = known_shape(model, rows.columns) if shape is None else None
    if size is None and (shape is not None or rows.features > MATRIX_COLUMNS):
        size = required_shape(model, shape, rows.features)
    return _drawn({type(model).__name__: model}, some(rows).x, size, rows.columns)


def _drawn(models: dict[str, Any], rows: torch.Tensor, shape: tuple[int, int] | None, columns: Sequence[str]) -> Figure:
    x = array(rows)
    made = {name: array(model.reconstruct(rows)) for name, model in models.items()}
    errors = {name: float(np.sqrt(np.mean((values - x) ** 2))) for name, values in made.items()}
    if shape is None:
        return _scatter(models, x, made, columns)
    scale = scale_of(x)
    strips = [(f"{name}\n{_size(models[name])}", values[:ACROSS]) for name, values in made.items()]
    figure, _ = sheet([("data", x[:ACROSS]), *strips], shape, scale, apart=True)
    return describe(
        figure,
        _takeaway(models, errors, scale),
        "Each column of pictures is a row of the data, and below it what is left of it when it goes through the latent "
        f"dimensions of a fit and back: the decoder's mean at the posterior mean. {shades(scale)}",
    )


def _scatter(models: dict[str, Any], x: np.ndarray, made: dict[str, np.ndarray], columns: Sequence[str]) -> Figure:
    d = len(columns)
    figure = blank(2.5 * d + 1, 2.6 * len(models) + 1)
    grid = figure.subplots(len(models), d, squeeze=False)
    for i, (panels, (name, values)) in enumerate(zip(grid, made.items(), strict=True)):
        for j, axes in enumerate(panels):
            low, high = scale_of(np.stack([x[:, j], values[:, j]]))
            tidy(axes).plot([low, high], [low, high], color=GREY, linewidth=1, zorder=1)
            axes.plot(
                x[:, j], values[:, j], ".", color=line(i, len(models)).color, markersize=7, alpha=0.6,
                markeredgewidth=0, rasterized=True,
            )  # fmt: skip
            axes.set_title(f"{100 * _explained(x, values)[j]:.0f} % kept", fontsize=10)
            axes.set_xlabel(columns[j])
        panels[0].set_ylabel(f"{name}\nreconstruction")
    kept = {name: _explained(x, values) for name, values in made.items()}
    best = max(kept, key=lambda name: kept[name].mean())
    most, least = int(kept[best].argmax()), int(kept[best].argmin())
    return describe(
        figure,
        f"{best}, with {_size(models[best])}, keeps most of {columns[most]}, least of {columns[least]}",
        "Each dot is a row: across, what it holds in a column, and up, what is left of it when it goes through the "
        "latent dimensions and back. On the grey line nothing is lost; the share kept is that of the variance.",
    )


def _explained(x: np.ndarray, made: np.ndarray) -> np.ndarray:
    """The share of each column's variance that is not lost."""
    variance = x.var(0)
    return 1 - ((x - made) ** 2).mean(0) / np.where(variance > 0, variance, 1)


def _size(model: Any) -> str:
    return f"{model.latent} latent dimension{'s' if model.latent > 1 else ''}"


def _takeaway(models: dict[str, Any], errors: dict[str, float], scale: Scale) -> str:
    best = min(errors, key=lambda name: errors[name])
    off = {name: number(error, "{:.2g}") for name, error in errors.items()}
    said = f"pixels ({scale[0]:.3g} to {scale[1]:.3g}) are off by {off[best]} in root mean square"
    if len(models) == 1:
        return f"What {best} keeps of a row in {_size(models[best])}: {said}"
    others = ", ".join(f"those of {name} by {error}" for name, error in off.items() if name != best)
    return f"{best} comes closest to the rows: its {said}" + (f", {others}" if len(models) <= 3 else "")
