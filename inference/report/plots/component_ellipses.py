"""Components as ellipses, and the projection of many columns on two axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse, Patch, Polygon
from matplotlib.patheffects import withStroke

from ....models.abilities import HasFamily
from ...criticism.comparison import Comparison
from .style import fit_style

ANGLES = np.linspace(0, 2 * np.pi, 201)[:, None]
ROUND = np.hstack([np.cos(ANGLES), np.sin(ANGLES)])  # points of an outline that is cut
MATRIX_COLUMNS = 4  # of up to this many columns every pair has a panel; more are projected


def project_columns(comparison: Comparison, columns: list[int]) -> tuple[list[str], np.ndarray | None, str]:
    """The names of the axes, the projection (d, axes) of d columns, and a sentence about it.

    The projection is None if each column is an axis.
    """
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


def not_below_zero(model: Any, columns: list[int]) -> np.ndarray:
    """Which of these columns cannot be negative under a mixture: counts, waiting times, shares."""
    if not isinstance(model, HasFamily):
        return np.zeros(len(columns), bool)
    refused = model.family.outside(torch.full((1, model.family.features), -1.0, dtype=torch.float64))
    return np.zeros(len(columns), bool) if refused is None else refused[0, columns].cpu().numpy()


def draw_ellipses(
    axes: Axes,
    mean: np.ndarray,
    covariance: np.ndarray,
    i: int,
    of: int,
    one_panel: bool,
    from_zero: tuple[bool, bool] = (False, False),
) -> None:
    """Outline the components of fit i of `of` at 1 and 2 standard deviations; those of the first fit have numbers.

    one_panel: whether there is one panel, with large numbers. from_zero: whether the column of each axis has no
    negative values: what is below zero is then cut off.
    """
    style = fit_style(i, of)
    low = np.array([0.0 if cut else -np.inf for cut in from_zero])
    for j, (centre, spread) in enumerate(zip(mean, covariance, strict=True)):
        values, vectors = np.linalg.eigh(spread)
        width, height = 2 * np.sqrt(np.maximum(values, 0))
        angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
        for deviations, thin in ((1, 1.0), (2, 0.75)):
            outline: Patch = Ellipse(
                tuple(centre), deviations * width, deviations * height, angle=angle, fill=False, edgecolor=style.color
            )
            points = centre + deviations / 2 * (ROUND * [width, height]) @ vectors.T
            if (points < low).any():
                outline = Polygon(np.maximum(points, low), fill=False, edgecolor=style.color)
            outline.set(linestyle=style.dash, linewidth=style.width * thin * (1 if one_panel else 0.7), zorder=3 + i)
            axes.add_patch(outline)
        if i == 0:
            label = axes.annotate(str(j + 1), centre, ha="center", va="center", fontweight="bold", zorder=9)
            label.set_fontsize(15 if one_panel else 10)
            label.set_path_effects([withStroke(linewidth=3, foreground="white")])
