"""How each fit went up to the best bound, against passes and against seconds."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ..compare import Comparison
from ..fit import SAME_OPTIMUM
from .style import GREY, blank, describe, line, listed, tidy

CLOSE = 1e-6  # nats per row: the axis is logarithmic above this distance from the best bound, linear below


def bounds_figure(comparison: Comparison) -> Figure:
    """Bound minus the best bound of any fit, nats per row, logarithmic towards 0, against passes and seconds."""
    fits = comparison.fits
    best = max(float(fit.bounds.max()) for fit in fits.values())
    figure = blank(10, 4.6)
    panels = figure.subplots(1, 2, sharey=True)
    for i, (name, fit) in enumerate(fits.items()):
        style = line(i, len(fits))
        below = fit.bounds.numpy() - best
        passes = np.arange(1, len(below) + 1)
        for axes, at in zip(panels, (passes, fit.times.numpy()), strict=True):
            axes.plot(at, below, color=style.color, linestyle=style.dash, linewidth=style.width * 0.7)
            axes.plot(at[-1], below[-1], style.marker, color=style.color, markersize=8, clip_on=False, zorder=5)
        # one entry with the line and the marker of its end
        end = "ends at the best" if best - float(fit.bounds[-1]) < 1e-9 else f"ends {-below[-1]:.2g} below"
        panels[0].plot(
            [], [], style.marker, color=style.color, linestyle=style.dash, label=f"{name}: {len(below)} passes, {end}"
        )
    panels[0].set_ylabel("bound minus best bound\n(nats per row, log scale)")
    _finish(panels[0], "passes over the rows", max(len(f.bounds) for f in fits.values()) > 20)
    ends = [float(fit.times[-1]) for fit in fits.values()]
    starts = [float(fit.times[0]) for fit in fits.values()]
    _finish(panels[1], "seconds", max(ends) > 20 * min(starts))
    panels[1].tick_params(labelleft=False)
    figure.legend(loc="outside lower center", ncols=min(len(fits), 2), frameon=False)
    there = [name for name, fit in fits.items() if best - float(fit.bounds[-1]) < SAME_OPTIMUM]
    one_model = len({fit.model.free_parameters() for fit in fits.values()}) == 1
    top = "the best optimum" if one_model else "the highest bound (of models of different size: see BIC)"
    takeaway = f"{listed(there, len(fits))} reach{'' if len(there) > 1 else 'es'} {top}, {best:.6f} nats per row"
    return describe(
        figure,
        takeaway,
        "Up is better: each division of the vertical axis is ten times closer to the best bound of all fits, the grey "
        "line at 0. Each marker is the end of a run.",
    )


def _finish(axes: Axes, label: str, logarithmic: bool) -> None:
    tidy(axes)
    axes.set_yscale("symlog", linthresh=CLOSE, linscale=0.5)
    axes.axhline(0, color=GREY, linewidth=1, zorder=0)
    lowest = min(axes.dataLim.y0, -10 * CLOSE)
    decades = range(-6, max(int(np.ceil(np.log10(-lowest))), -5) + 1)
    axes.set_yticks([0.0, *(-(10.0**k) for k in decades)])
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))
    axes.minorticks_off()
    axes.set_ylim(1.3 * lowest, 0.6 * CLOSE)
    axes.set_xlabel(label)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def _tick(value: float, _: int | None = None) -> str:
    return "best" if value == 0 else f"$-10^{{{round(np.log10(-value))}}}$"
