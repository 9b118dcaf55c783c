"""What each fit knows of the parameters: intervals of those with a posterior, points of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ....models import Rows, SupportsPosterior
from ...criticism.comparison import Comparison
from .style import GREY, blank_figure, despine, fit_style, join_names, set_title_and_caption

DRAWS = 400
LEVEL = 0.9
MOST = 18  # numbers that are shown


def posteriors_figure(comparison: Comparison, models: Mapping[str, Any]) -> Figure | None:
    """Central 90 % intervals and medians of weights and of what the family says of each component, side by side, in
    standard deviations of the sampler's posterior or else of the first; a point for fits without a posterior. None if
    no fit has one."""
    able = [name for name, model in models.items() if isinstance(model, SupportsPosterior) and not model.is_point]
    if not able:
        return None
    drawn = {name: _parameter_draws(model, comparison.x, name in able) for name, model in models.items()}
    judge = next((name for name in able if models[name].is_sampled), able[0])
    wanted = list(drawn[judge])[:MOST]
    shown = {name: own for name, own in drawn.items() if own.keys() == drawn[judge].keys()}
    centre = {what: (values.mean(), values.std()) for what, values in drawn[judge].items()}
    figure = blank_figure(9, 1.9 + 0.42 * len(wanted))
    axes = despine(figure.subplots())
    lines = np.arange(len(wanted))
    widths, ratios = {}, dict(zip(comparison.fits, comparison.frame()["sd_ratio"].tolist(), strict=True))
    for i, (name, own) in enumerate(shown.items()):
        style, at = fit_style(i, len(shown)), lines + 0.6 * ((i + 0.5) / len(shown) - 0.5)
        scaled = np.stack([(own[what] - centre[what][0]) / centre[what][1] for what in wanted])
        low, middle, high = np.quantile(scaled, [0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2], axis=1)
        if name in able:
            axes.hlines(at, low, high, color=style.color, linewidth=2.4)
            widths[name] = ratios[name]
        axes.plot(middle, at, style.marker, color=style.color, markersize=6, label=name, zorder=4)
    axes.axvline(0, color=GREY, linewidth=1, zorder=0)
    said = [f"{what}   {centre[what][0]:.4g} ± {centre[what][1]:.2g}" for what in wanted]
    axes.set_yticks(lines, said)
    axes.set(ylim=(len(wanted) - 0.5, -0.5), xlabel=f"standard deviations of {judge} from its mean")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=len(shown), frameon=False)
    others = {name: width for name, width in widths.items() if name != judge}
    if others and models[judge].is_sampled:
        parts = [f"{name} {width:.2f}" for name, width in others.items()]
        takeaway = f"How wide the posteriors are, {judge} = 1: {', '.join(parts)}"
    else:
        takeaway = f"What {join_names(able, len(models))} know{'s' if len(able) == 1 else ''} of the parameters"
    left = len(drawn[judge]) - len(wanted)
    reading = (
        f"A line is the central {100 * LEVEL:.0f} % of a fit's posterior, a mark its median, or where a fit without a "
        f"posterior is. The numbers are mean ± standard deviation of {judge}, in the units of the data."
        + (f" {left} more numbers are in posterior.nc." if left else "")
    )
    return set_title_and_caption(figure, takeaway, reading)


@torch.no_grad()
def _parameter_draws(model: Any, rows: Rows, has_posterior: bool) -> dict[str, np.ndarray]:
    """Draws of each number by which the components are known; one value of each for a model of one point."""
    if has_posterior:
        theta = model.draw(DRAWS, seed=0)
        points = [model.mixture({name: value[i] for name, value in theta.items()}) for i in range(DRAWS)]
    elif hasattr(model, "weights") and hasattr(model, "family"):
        points = [model]
    else:
        return {}
    found: dict[str, list[float]] = {}
    for point in points:
        for j, weight in enumerate(point.weights.tolist()):
            found.setdefault(f"{j + 1}: weight", []).append(weight)
        for part in point.family.profiles():
            for i, (column, values) in enumerate(zip(part.columns, part.values.T.tolist(), strict=True)):
                of = f"{part.kind} of {rows.columns[column]}" if column >= 0 else part.kind
                if part.levels is not None:
                    words = rows.levels[column] or range(part.levels[i] + 1)
                    of = f"{part.kind}({rows.columns[column]} = {words[part.levels[i]]})"
                for j, value in enumerate(values):
                    found.setdefault(f"{j + 1}: {of}", []).append(value)
    by_component = sorted(found, key=lambda name: int(name.split(":")[0]))
    return {name: np.array(found[name]) for name in by_component}
