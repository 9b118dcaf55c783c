"""The density of a model as curves and contours, computed from its bound and posterior."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...criticism.comparison import Comparison
from ...criticism.evidence import evidence
from .style import GREY, FitStyle, blank_figure, despine, fit_style

DRAWS = 100  # of z for each point, where log p(x) has no closed form
CONTOUR_MASS = (0.865, 0.393)  # the mass of a Gaussian in two dimensions within 2 and 1 standard deviations


def density_curves(comparison: Comparison, models: dict[str, Any], discrete: bool) -> tuple[Figure, str]:
    """One column: a histogram (for counts a bar at each count), the density exp(bound) of each fit, and its components.

    Returns the figure and its caption.
    """
    rows = comparison.x
    chunk = rows.sample(torch.Generator().manual_seed(0))
    x = chunk.x[:, 0].numpy()
    weights = np.ones(len(x)) if chunk.weights is None else chunk.weights.numpy()
    x, weights = x[~np.isnan(x)], weights[~np.isnan(x)]
    low, high = x.min(), x.max()
    figure = blank_figure(8.5, 4.8)
    axes = despine(figure.subplots())
    if discrete:
        grid = np.arange(low, high + 1)
        counts = np.histogram(x, np.append(grid, high + 1) - 0.5, weights=weights)[0]
        axes.bar(grid, counts / counts.sum(), width=0.9, color="#dcdcdc", label="rows")
    else:
        margin = 0.05 * (high - low) or 1.0
        grid = np.linspace(low - margin, high + margin, 600)
        bins = max(10, min(60, int(2 * np.sqrt(len(x)))))
        axes.hist(x, bins=bins, weights=weights, density=True, color="#dcdcdc", label="rows (histogram)")
        if len(x) <= 500:
            axes.plot(x, np.zeros_like(x), "|", color=GREY, markersize=9, clip_on=False)
    for i, (name, model) in enumerate(models.items()):
        style = fit_style(i, len(models))
        points = torch.as_tensor(grid[:, None], dtype=torch.float64)
        try:
            density = log_density(model, points).exp().numpy()
        except ValueError:  # the margin lies outside the support, such as below 0: use the range of the rows
            grid = np.linspace(low, high, 600)
            points = torch.as_tensor(grid[:, None], dtype=torch.float64)
            density = log_density(model, points).exp().numpy()
        with torch.no_grad():
            posterior = model.posterior(points)
        axes.plot(grid, density, color=style.color, linestyle=style.dash, linewidth=style.width, label=name)
        if not isinstance(posterior, torch.distributions.Categorical):
            continue
        parts = posterior.probs.numpy() * density[:, None]
        axes.plot(grid, parts, color=style.color, linestyle=style.dash, linewidth=style.width * 0.4)
        if i == 0:
            for j, part in enumerate(parts.T):
                top = int(part.argmax())
                axes.annotate(
                    str(j + 1), (grid[top], part[top]), (0, 3), textcoords="offset points", ha="center", weight="bold"
                )
    axes.set_ylim(bottom=0)
    axes.set_xlabel(rows.columns[0])
    axes.set_ylabel("probability" if discrete else f"density (per unit of {rows.columns[0]})")
    axes.legend(frameon=False, handlelength=4)
    kind = "probability" if discrete else "density"
    missing = f" {rows.gaps.cells} rows with a missing value are not shown." if rows.gaps.cells else ""
    return figure, (
        f"Bars are the rows. Thick lines are the {kind} of each fit, thin lines the part of each component; its number "
        f"is the one in the tables.{missing}"
    )


def density_contours(axes: Axes, model: Any, rows: np.ndarray, style: FitStyle) -> None:
    """Draw lines of equal density that contain 39 % and 86 % of the rows, for a model without components."""
    low, high = rows.min(0), rows.max(0)
    margin = 0.05 * (high - low)
    across, up = (np.linspace(a, b, 100) for a, b in zip(low - margin, high + margin, strict=True))
    grid = np.stack(np.meshgrid(across, up), -1)
    try:
        bound = log_density(model, torch.as_tensor(grid.reshape(-1, 2))).numpy()
    except ValueError:  # the margin lies outside the support, such as below 0: use the range of the rows
        across, up = (np.linspace(a, b, 100) for a, b in zip(low, high, strict=True))
        grid = np.stack(np.meshgrid(across, up), -1)
        bound = log_density(model, torch.as_tensor(grid.reshape(-1, 2))).numpy()
    levels = np.quantile(log_density(model, torch.as_tensor(rows)).numpy(), [1 - mass for mass in CONTOUR_MASS])
    if levels[0] < levels[1]:
        axes.contour(
            across, up, bound.reshape(100, 100), levels, colors=style.color, linestyles=[style.dash],
            linewidths=[0.6 * style.width, style.width],
        )  # fmt: skip


@torch.no_grad()
def log_density(model: Any, x: torch.Tensor) -> torch.Tensor:
    """log p(x) of each row in float64: the bound for a discrete z, an estimate by importance weighting for another."""
    if isinstance(model.posterior(x[:1]), torch.distributions.Categorical):
        return model.bound(x).double()
    return evidence(model, x, DRAWS).log_evidence
