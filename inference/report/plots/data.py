"""The rows, and where each fit believes its components are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from matplotlib.patheffects import withStroke

from ...criticism.column_measures import DENSITY, column_measures
from ...criticism.comparison import Comparison
from ...criticism.component_profiles import component_moments, numeric_columns
from ...criticism.pair_distances import largest_distance
from .density import contours, curves
from .style import GREY, blank, describe, line, listed, ticks, tidy

DRAWN_ROWS = 5000  # more dots hide each other
SAME = 0.05  # parameter distance below which two fits look the same
AGREE = 1e-3  # mean posterior KL, nats, below which they put the rows in the same components
NEAR = 0.25  # and nearly the same
MATRIX_COLUMNS = 4  # up to here every pair of columns has a panel


def data_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """One column: histogram and densities. Two: a scatter with 1 and 2 s.d. ellipses. Three or four: one for each
    pair. More: the first two principal components. Columns of categories are left out. None if no others are there, or
    there is nothing to draw over the scatter."""
    first = next(iter(models.values()))
    d = comparison.x.features
    columns = [j for j in range(d) if all(j in numeric_columns(model, d) for model in models.values())]
    found = column_measures(first, comparison.x)
    discrete = all(found[j] != DENSITY for j in columns)
    if columns == [0] and d == 1:
        figure, reading = curves(comparison, models, discrete)
        return describe(figure, _takeaway(comparison, models), reading)
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
    names, project, note = _view(comparison, columns)
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
    figure = blank(7.5, 5.5) if size == 2 else blank(2.6 * size + 1, 2.2 * size + 1)
    grid = figure.subplots(size - 1, size - 1, sharex="col", sharey="row", squeeze=False)
    only = ""
    for j in range(size - 1):  # row of panels j shows column j + 1 against columns 0 .. j
        for i in range(size - 1):
            axes = tidy(grid[j, i])
            if i > j:
                axes.remove()
                continue
            pair = project[:, [i, j + 1]]
            shown = places[:, [i, j + 1]]
            both = whole if missing else ~np.isnan(shown).any(1)
            axes.scatter(*shown[both].T, s=12, color=GREY, alpha=0.55, linewidths=0, rasterized=True)
            if missing:
                axes.scatter(*shown[~both].T, s=14, facecolors="none", edgecolors=GREY, linewidths=0.8, rasterized=True)
            elif ticks(axes, shown, linewidths=0.8):
                only = " Ticks on an axis are rows of which the other column is missing."
            for n, (name, parts) in enumerate(ellipses.items()):
                if parts is not None:
                    _ellipses(axes, parts[0] @ pair, pair.T @ parts[1] @ pair, n, len(models), size == 2)
                elif d == 2 and not discrete:
                    contours(axes, models[name], rows[whole], line(n, len(models)))
            axes.autoscale_view()
            if j == size - 2:
                axes.set_xlabel(names[i])
            if i == 0:
                axes.set_ylabel(names[j + 1])
    figure.align_ylabels()
    handles = [
        Line2D([], [], color=s.color, linestyle=s.dash, linewidth=s.width, label=name)
        for name, s in ((name, line(n, len(models))) for n, name in enumerate(models))
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
    expected = f"Where {listed(list(models), len(models))} expect{'s' if len(models) == 1 else ''} the rows"
    return describe(figure, _takeaway(comparison, drawn) if outlined else expected, note + reading + missing + only)


def _view(comparison: Comparison, columns: list[int]) -> tuple[list[str], np.ndarray | None, str]:
    """Axis names, the (d, axes) projection of d columns on them (None: each is an axis), and what to say of it."""
    d = len(columns)
    if d <= MATRIX_COLUMNS:
        return [comparison.x.columns[j] for j in columns], None, ""
    covariance = comparison.x.moments.covariance.numpy()[np.ix_(columns, columns)]
    deviation = np.sqrt(np.diag(covariance))
    deviation[deviation == 0] = 1
    values, vectors = np.linalg.eigh(covariance / np.outer(deviation, deviation))
    share = values[::-1] / values.sum()
    names = [f"principal component {i + 1} ({share[i]:.0%} of the variance)" for i in range(2)]
    return (
        names,
        vectors[:, [-1, -2]] / deviation[:, None],
        f"Projected from {d} columns, each divided by its s.d. ",
    )


def _ellipses(axes: Axes, mean: np.ndarray, covariance: np.ndarray, i: int, of: int, numbered: bool) -> None:
    style = line(i, of)
    for j, (centre, spread) in enumerate(zip(mean, covariance, strict=True)):
        values, vectors = np.linalg.eigh(spread)
        width, height = 2 * np.sqrt(np.maximum(values, 0))
        angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
        for deviations, thin in ((1, 1.0), (2, 0.75)):
            outline = Ellipse(
                tuple(centre), deviations * width, deviations * height, angle=angle, fill=False, edgecolor=style.color
            )
            outline.set(linestyle=style.dash, linewidth=style.width * thin * (1 if numbered else 0.7), zorder=3 + i)
            axes.add_patch(outline)
        if i == 0:
            label = axes.annotate(str(j + 1), centre, ha="center", va="center", fontweight="bold", zorder=9)
            label.set_fontsize(15 if numbered else 10)
            label.set_path_effects([withStroke(linewidth=3, foreground="white")])


def _takeaway(comparison: Comparison, models: dict[str, Any]) -> str:
    names = list(models)
    if len(names) == 1:
        return f"Where {names[0]} puts its components"
    if len(names) < len(comparison.fits):
        return f"Where {listed(names, len(comparison.fits))} put their components"
    distance = largest_distance(comparison, "parameter_distance")
    if largest_distance(comparison, "posterior_kl") < AGREE:  # a parameter may go to infinity, and the fits still agree
        distance = min(distance, 0.0)
    if np.isnan(distance):
        return f"Where the {len(names)} fits put their components"
    if distance < SAME:
        return f"{listed(names, len(names))} find the same components"
    who = " and ".join(names) if len(names) == 2 else "The fits"
    return f"{who} find {'nearly the same' if distance < NEAR else 'different'} components"
