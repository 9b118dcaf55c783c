"""The posteriors of the parameters as intervals; fits without a posterior have points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ....models import Rows, SupportsPosterior
from ....models.abilities import HasFamily
from ...criticism.comparison import Comparison
from .style import GREY, blank_figure, despine, fit_style, join_names, set_title_and_caption

DRAWS = 400
LEVEL = 0.9  # posterior probability of an interval
MOST_NUMBERS = 18  # lines of the figure


def posteriors_figure(comparison: Comparison, models: Mapping[str, Any]) -> Figure | None:
    """Central 90 % intervals and medians of the weights and parameters of each component.

    They are in standard deviations of a reference: the posterior of the first sampler, else of the first fit that has
    one. Fits without a posterior have a point. None if no fit has a posterior.
    """
    able = [name for name, model in models.items() if isinstance(model, SupportsPosterior) and not model.is_point]
    if not able:
        return None
    drawn = {name: _parameter_draws(model, comparison.x, name in able) for name, model in models.items()}
    reference = next((name for name in able if models[name].is_sampled), able[0])
    wanted = list(drawn[reference])[:MOST_NUMBERS]
    shown = {name: own for name, own in drawn.items() if own.keys() == drawn[reference].keys()}
    moments = {number: (values.mean(), values.std()) for number, values in drawn[reference].items()}
    figure = blank_figure(9, 1.9 + 0.42 * len(wanted))
    axes = despine(figure.subplots())
    lines = np.arange(len(wanted))
    widths, ratios = {}, dict(zip(comparison.fits, comparison.frame()["sd_ratio"].tolist(), strict=True))
    for i, (name, own) in enumerate(shown.items()):
        style, at = fit_style(i, len(shown)), lines + 0.6 * ((i + 0.5) / len(shown) - 0.5)
        scaled = np.stack([(own[number] - moments[number][0]) / moments[number][1] for number in wanted])
        low, middle, high = np.quantile(scaled, [0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2], axis=1)
        if name in able:
            axes.hlines(at, low, high, color=style.color, linewidth=2.4)
            widths[name] = ratios[name]
        axes.plot(middle, at, style.marker, color=style.color, markersize=6, label=name, zorder=4)
    axes.axvline(0, color=GREY, linewidth=1, zorder=0)
    labels = [f"{number}   {moments[number][0]:.4g} ± {moments[number][1]:.2g}" for number in wanted]
    axes.set_yticks(lines, labels)
    axes.set(ylim=(len(wanted) - 0.5, -0.5), xlabel=f"standard deviations of {reference} from its mean")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=len(shown), frameon=False)
    others = {name: width for name, width in widths.items() if name != reference}
    if others and models[reference].is_sampled:
        parts = [f"{name} {width:.2f}" for name, width in others.items()]
        title = f"Widths of the posteriors relative to {reference}: {', '.join(parts)}"
    else:
        title = (
            f"Posterior{'s' if len(able) > 1 else ''} of the parameters: {join_names(able, len(models), capital=False)}"
        )
    omitted = len(drawn[reference]) - len(wanted)
    caption = (
        f"A line is the central {100 * LEVEL:.0f} % interval of a posterior, a marker its median; of a fit without a "
        f"posterior, its estimate. The numbers are mean ± standard deviation of {reference}, in the units of the data."
        + (f" {omitted} more numbers are in posterior.nc." if omitted else "")
    )
    return set_title_and_caption(figure, title, caption)


@torch.no_grad()
def _parameter_draws(model: Any, rows: Rows, has_posterior: bool) -> dict[str, np.ndarray]:
    """Draws of the weights and parameters of the components by name; one value each without a posterior."""
    if has_posterior:
        theta = model.draw(DRAWS, seed=0)
        points = [model.mixture({name: value[i] for name, value in theta.items()}) for i in range(DRAWS)]
    elif isinstance(model, HasFamily):
        points = [model]
    else:
        return {}
    found: dict[str, list[float]] = {}
    for point in points:
        for j, weight in enumerate(point.weights.tolist()):
            found.setdefault(f"{j + 1}: weight", []).append(weight)
        for part in point.family.profiles():
            for i, (column, values) in enumerate(zip(part.columns, part.values.T.tolist(), strict=True)):
                parameter = f"{part.kind} of {rows.columns[column]}" if column >= 0 else part.kind
                if part.levels is not None:
                    words = rows.levels[column] or range(part.levels[i] + 1)
                    parameter = f"{part.kind}({rows.columns[column]} = {words[part.levels[i]]})"
                for j, value in enumerate(values):
                    found.setdefault(f"{j + 1}: {parameter}", []).append(value)
    by_component = sorted(found, key=lambda name: int(name.split(":")[0]))
    return {name: np.array(found[name]) for name in by_component}
