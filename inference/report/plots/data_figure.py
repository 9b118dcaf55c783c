"""The rows, and where each fit believes its components are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...criticism.compare import DENSITY, measures
from ...criticism.comparison import Comparison
from ...criticism.component_summaries import component_moments, furthest, measured
from .component_ellipses import draw_ellipses, project_columns
from .density_curves import density_contours, density_curves
from .style import GREY, blank_figure, despine, fit_style, join_names, mark_half_missing_rows, set_title_and_caption

DRAWN_ROWS = 5000  # more dots hide each other
SAME = 0.05  # parameter distance below which two fits look the same
AGREE = 1e-3  # mean posterior KL, nats, below which they put the rows in the same components
NEAR = 0.25  # and nearly the same


def data_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """One column: histogram and densities. Two: a scatter with 1 and 2 s.d. ellipses. Three or four: one for each
    pair. More: the first two principal components. Columns of categories are left out. None if no others are there, or
    there is nothing to draw over the scatter."""
    first = next(iter(models.values()))
    d = comparison.x.features
    columns = [j for j in range(d) if all(j in measured(model, d) for model in models.values())]
    found = measures(first, comparison.x)
    discrete = all(found[j] != DENSITY for j in columns)
    if columns == [0] and d == 1:
        figure, reading = density_curves(comparison, models, discrete)
        return set_title_and_caption(figure, _takeaway(comparison, models), reading)
    if len(columns) < 2:
        return None
    moments = {name: component_moments(model, columns) for name, model in models.items()}
    outlined = any(m is not None for m in moments.values())
    if not outlined and (discrete or d > 2):
        return None
    x = comparison.x.sample(torch.Generator().manual_seed(0), DRAWN_ROWS).x
    rows = x[:, columns].numpy()
    whole = ~np.isnan(rows).any(1)
    ellipses = {name: (m.mean.numpy(), m.covariance.numpy()) if m is not None else None for name, m in moments.items()}
    names, project, note = project_columns(comparison, columns)
    size = len(names)
    missing = ""
    if project is None:
        places, project = rows, np.eye(size)  # no product of the rows, where NaN times 0 is NaN
    else:
        leader = next(name for name, found in moments.items() if found is not None)  # one has an outline
        if not whole.all() and hasattr(models[leader], "impute"):
            rows = models[leader].impute(x).values[:, columns].numpy()
            missing = f" Rings are rows with missing cells, where {leader} expects them."
        places = rows @ project
    figure = blank_figure(7.5, 5.5) if size == 2 else blank_figure(2.6 * size + 1, 2.2 * size + 1)
    grid = figure.subplots(size - 1, size - 1, sharex="col", sharey="row", squeeze=False)
    only = ""
    for j in range(size - 1):  # row of panels j shows column j + 1 against columns 0 .. j
        for i in range(size - 1):
            axes = despine(grid[j, i])
            if i > j:
                axes.remove()
                continue
            pair = project[:, [i, j + 1]]
            shown = places[:, [i, j + 1]]
            both = whole if missing else ~np.isnan(shown).any(1)
            axes.scatter(*shown[both].T, s=12, color=GREY, alpha=0.55, linewidths=0, rasterized=True)
            if missing:
                axes.scatter(*shown[~both].T, s=14, facecolors="none", edgecolors=GREY, linewidths=0.8, rasterized=True)
            elif mark_half_missing_rows(axes, shown, linewidths=0.8):
                only = " Ticks on an axis are rows of which the other column is missing."
            for n, (name, parts) in enumerate(ellipses.items()):
                if parts is not None:
                    draw_ellipses(axes, parts[0] @ pair, pair.T @ parts[1] @ pair, n, len(models), size == 2)
                elif d == 2 and not discrete:
                    density_contours(axes, models[name], rows[whole], fit_style(n, len(models)))
            axes.autoscale_view()
            if j == size - 2:
                axes.set_xlabel(names[i])
            if i == 0:
                axes.set_ylabel(names[j + 1])
    figure.align_ylabels()
    handles = [
        Line2D([], [], color=s.color, linestyle=s.dash, linewidth=s.width, label=name)
        for name, s in ((name, fit_style(n, len(models))) for n, name in enumerate(models))
        if ellipses[name] is not None or d == 2
    ]
    figure.legend(
        handles=handles,
        title="components at 1 and 2 s.d." if outlined else "density",
        **({"loc": "outside lower center", "ncols": 3} if size == 2 else {"loc": "upper right", "fontsize": 12}),
        bbox_to_anchor=None if size == 2 else (0.98, 0.92),
        title_fontsize=None if size == 2 else 12,
        frameon=False,
        handlelength=5,
    )
    reading = (
        "Grey dots are rows. Each component of each fit is outlined at 1 and 2 standard deviations; its number is the "
        "one in the tables. Where two fits agree, the dashed line lies on the solid one."
        if outlined
        else "Grey dots are rows. Lines of equal density hold 39 % and 86 % of them."
    )
    drawn = {name: model for name, model in models.items() if moments[name] is not None or d == 2}
    expected = f"Where {join_names(list(models), len(models))} expect{'s' if len(models) == 1 else ''} the rows"
    return set_title_and_caption(
        figure, _takeaway(comparison, drawn) if outlined else expected, note + reading + missing + only
    )


def _takeaway(comparison: Comparison, models: dict[str, Any]) -> str:
    names = list(models)
    if len(names) == 1:
        return f"Where {names[0]} puts its components"
    if len(names) < len(comparison.fits):
        return f"Where {join_names(names, len(comparison.fits))} put their components"
    distance = furthest(comparison, "parameter_distance")
    if furthest(comparison, "posterior_kl") < AGREE:  # a parameter may go to infinity, and the fits still agree
        distance = min(distance, 0.0)
    if np.isnan(distance):
        return f"Where the {len(names)} fits put their components"
    if distance < SAME:
        return f"{join_names(names, len(names))} find the same components"
    who = " and ".join(names) if len(names) == 2 else "The fits"
    return f"{who} find {'nearly the same' if distance < NEAR else 'different'} components"
