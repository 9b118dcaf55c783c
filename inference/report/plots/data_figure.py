"""The rows, with the components of each fit outlined."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ....models.abilities import Imputes
from ...criticism.comparison import Comparison
from ...criticism.component_profiles import component_moments, numeric_columns
from ...criticism.density_or_probability import DENSITY, column_measures
from .agreement import agreement
from .component_ellipses import draw_ellipses, not_below_zero, project_columns
from .density_curves import density_contours, density_curves
from .style import GREY, blank_figure, despine, fit_style, join_names, mark_half_missing_rows, set_title_and_caption

DRAWN_ROWS = 5000  # more dots hide each other


def data_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """One column: histogram and densities. Two: a scatter plot with ellipses at 1 and 2 standard deviations. Three or
    four: one scatter plot for each pair. More: the first two principal components. Columns of categories are left out.

    None if there are fewer than two columns of numbers beside others, or no model has moments or a density to draw.
    """
    first = next(iter(models.values()))
    d = comparison.x.features
    columns = [j for j in range(d) if all(j in numeric_columns(model, d) for model in models.values())]
    found = column_measures(first, comparison.x)
    discrete = all(found[j] != DENSITY for j in columns)
    if columns == [0] and d == 1:
        figure, caption = density_curves(comparison, models, discrete)
        return set_title_and_caption(figure, _title(comparison, models), caption)
    if len(columns) < 2:
        return None
    moments = {name: component_moments(model, columns) for name, model in models.items()}
    outlined = [name for name, m in moments.items() if m is not None]
    if not outlined and (discrete or d > 2):
        return None
    x = comparison.x.sample(torch.Generator().manual_seed(0), DRAWN_ROWS).x
    rows = x[:, columns].numpy()
    complete = ~np.isnan(rows).any(1)
    ellipses = {name: (m.mean.numpy(), m.covariance.numpy()) if m is not None else None for name, m in moments.items()}
    names, projection, note = project_columns(comparison, columns)
    positive = {name: not_below_zero(models[name], columns) for name in outlined}
    columns_are_axes = projection is None
    size = len(names)
    imputed = ""
    if projection is None:
        positions, projection = rows, np.eye(size)  # without a matrix product, in which NaN times 0 is NaN
    else:
        imputer = models[outlined[0]]
        if not complete.all() and isinstance(imputer, Imputes) and imputer.takes_missing:
            rows = imputer.impute(x).values[:, columns].numpy()
            imputed = f" Rings are rows with missing values, at their posterior means under {outlined[0]}."
        positions = rows @ projection
    figure = blank_figure(7.5, 5.5) if size == 2 else blank_figure(2.6 * size + 1, 2.2 * size + 1)
    grid = figure.subplots(size - 1, size - 1, sharex="col", sharey="row", squeeze=False)
    ticks = ""
    for j in range(size - 1):  # row of panels j shows column j + 1 against columns 0 .. j
        for i in range(size - 1):
            axes = despine(grid[j, i])
            if i > j:
                axes.remove()
                continue
            pair = projection[:, [i, j + 1]]
            shown = positions[:, [i, j + 1]]
            both = complete if imputed else ~np.isnan(shown).any(1)
            axes.scatter(*shown[both].T, s=12, color=GREY, alpha=0.55, linewidths=0, rasterized=True)
            if imputed:
                axes.scatter(*shown[~both].T, s=14, facecolors="none", edgecolors=GREY, linewidths=0.8, rasterized=True)
            elif mark_half_missing_rows(axes, shown, linewidths=0.8):
                ticks = " Ticks on an axis are rows with the other column missing."
            for n, (name, parts) in enumerate(ellipses.items()):
                if parts is not None:
                    cut = positive[name] if columns_are_axes else np.zeros(size, bool)
                    draw_ellipses(
                        axes, parts[0] @ pair, pair.T @ parts[1] @ pair, n, len(models), size == 2,
                        (bool(cut[i]), bool(cut[j + 1])),
                    )  # fmt: skip
                elif d == 2 and not discrete:
                    density_contours(axes, models[name], rows[complete], fit_style(n, len(models)))
            axes.autoscale_view()
            if j == size - 2:
                axes.set_xlabel(names[i])
            if i == 0:
                axes.set_ylabel(names[j + 1])
    figure.align_ylabels()
    drawn = {name: model for name, model in models.items() if name in outlined or d == 2}
    _add_legend(figure, models, drawn, bool(outlined), size == 2)
    caption = (
        "Grey dots are rows. Each component of each fit is outlined at 1 and 2 standard deviations; its number is the "
        "one in the tables. Where two fits agree, the dashed line lies on the solid one."
        if outlined
        else "Grey dots are rows. Lines of equal density contain 39 % and 86 % of them."
    )
    density = f"Density of the rows under {join_names(list(models), len(models), capital=False)}"
    title = _title(comparison, drawn) if outlined else density
    return set_title_and_caption(figure, title, note + caption + imputed + ticks)


def _add_legend(figure: Figure, models: dict[str, Any], drawn: dict[str, Any], outlined: bool, one_panel: bool) -> None:
    """Add the line style of each fit that is drawn: below one panel, or in the empty corner of several."""
    styles = {name: fit_style(n, len(models)) for n, name in enumerate(models)}
    handles = [
        Line2D([], [], color=s.color, linestyle=s.dash, linewidth=s.width, label=name)
        for name, s in styles.items()
        if name in drawn
    ]
    figure.legend(
        handles=handles,
        title="components at 1 and 2 s.d." if outlined else "density",
        **({"loc": "outside lower center", "ncols": 3} if one_panel else {"loc": "upper right", "fontsize": 12}),
        bbox_to_anchor=None if one_panel else (0.98, 0.92),
        title_fontsize=None if one_panel else 12,
        frameon=False,
        handlelength=5,
    )


def _title(comparison: Comparison, models: dict[str, Any]) -> str:
    """Whether the fits find the same components."""
    names = list(models)
    if len(names) < len(comparison.fits) or len(names) == 1:
        return f"Components of {join_names(names, len(comparison.fits), capital=False)}"
    found = agreement(comparison)
    if found is None:
        return f"Components of the {len(names)} fits"
    if found == "the same":
        return f"{join_names(names, len(names))} find the same components"
    who = " and ".join(names) if len(names) == 2 else "The fits"
    return f"{who} find {found} components"
