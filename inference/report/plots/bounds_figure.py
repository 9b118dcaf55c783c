"""The bound of each fit against passes and seconds, and the bound of held-out rows."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ....models import SupportsPosterior
from ...criticism.comparison import Comparison
from ...fitting.fit import SAME_OPTIMUM
from .held_out_panel import draw_held_out
from .style import GREY, blank_figure, despine, fit_style, join_names, set_title_and_caption

CLOSE = -6  # power of ten, nats per row: the axis is linear closer than this to the best bound, else logarithmic


def bounds_figure(comparison: Comparison) -> Figure:
    """Distances from the best bound in nats per row, on a logarithmic axis, against passes and against seconds.

    The best bound is that of all fits of one kind: with or without a posterior over the parameters. Fits with held-out
    rows have a third panel with the bounds of these rows.
    """
    fits = comparison.fits
    kinds = {name: isinstance(fit.model, SupportsPosterior) and not fit.model.is_point for name, fit in fits.items()}
    tops = {
        kind: max(float(fits[name].bounds.max()) for name in kinds if kinds[name] == kind)
        for kind in dict.fromkeys(kinds.values())
    }
    bests = {name: tops[kind] for name, kind in kinds.items()}
    held_out = {name: fit for name, fit in fits.items() if fit.held_out is not None}
    figure = blank_figure(14 if held_out else 10, 4.6)
    panels = figure.subplots(1, 3 if held_out else 2)
    panels[1].sharey(panels[0])
    close = _linear_threshold([fit.bounds.numpy() - bests[name] for name, fit in fits.items()])
    for i, (name, fit) in enumerate(fits.items()):
        style = fit_style(i, len(fits))
        below = fit.bounds.numpy() - bests[name]
        passes = np.arange(1, len(below) + 1)
        sampler = isinstance(fit.model, SupportsPosterior) and fit.model.is_sampled  # a sampler maximizes no bound
        for axes, at in zip(panels[:2], (passes, fit.times.numpy()), strict=True):
            if sampler:
                at, below = at[-1:], below[-1:]
            axes.plot(at, below, color=style.color, linestyle=style.dash, linewidth=style.width * 0.7)
            axes.plot(at[-1], below[-1], style.marker, color=style.color, markersize=8, clip_on=False, zorder=5)
        # an empty line, so that one legend entry has both the line and the marker
        end = "ends at the best" if -below[-1] < 1e-9 else f"ends {-below[-1]:.2g} below"
        panels[0].plot(
            [],
            [],
            style.marker,
            color=style.color,
            linestyle=style.dash,
            label=f"{name}: {len(below)} pass{'es' if len(below) > 1 else ''}, {end}",
        )
    panels[0].set_ylabel("bound minus best bound\n(nats per row, log scale)")
    _style_axis(panels[0], close, "passes over the rows", max(len(f.bounds) for f in fits.values()) > 20)
    first = [float(fit.times[0]) for fit in fits.values()]
    last = [float(fit.times[-1]) for fit in fits.values()]
    _style_axis(panels[1], close, "seconds", max(last) > 20 * min(first))
    panels[1].tick_params(labelleft=False)
    handles, labels = panels[0].get_legend_handles_labels()
    if held_out:
        draw_held_out(panels[2], {name: fit_style(i, len(fits)) for i, name in enumerate(fits)}, held_out)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(fits), 2), frameon=False)
    one_model = len({fit.model.free_parameters() for fit in fits.values()}) == 1
    sentences = []
    for kind, best in tops.items():
        reached = [name for name in fits if kinds[name] == kind and best - float(fits[name].bounds[-1]) < SAME_OPTIMUM]
        starts = min(sum(optimum.count for optimum in fits[name].optima) for name in reached)
        found = "from one start" if starts == 1 else f"the best of {starts} starts"
        top = (
            f"the highest bound ({found})" if one_model else "the highest bound (of models of different size: see BIC)"
        )
        if kind:
            top = "the highest bound of log p(all rows)"
        of = sum(each == kind for each in kinds.values())
        sentences.append(
            f"{join_names(reached, of)} reach{'' if len(reached) > 1 else 'es'} {top}, {best:.6f} nats per row"
        )
    title = ";\n".join(sentences)
    of = "all fits" if len(tops) == 1 else "its kind, with or without a posterior over the parameters"
    caption = (
        f"Higher is better: each division of the vertical axis is ten times closer to the best bound of {of}, the "
        "grey line at 0. A marker is the last pass of a run."
    )
    if held_out:
        caption += (
            " On the right are the bounds themselves, thick for the rows of the fit and thin for rows held out, "
            "without the first fifth of the passes. Where a thin line falls while the thick one rises, the "
            "model overfits."
        )
    return set_title_and_caption(figure, title, caption)


def _linear_threshold(below: list[np.ndarray]) -> int:
    """The power of ten at which the axis becomes linear: about the smallest distance that any run reaches."""
    apart = -np.concatenate(below)
    nearest = apart[apart > 0].min(initial=1.0)
    return max(CLOSE, int(np.floor(np.log10(nearest))))


def _style_axis(axes: Axes, close: int, label: str, logarithmic: bool) -> None:
    """Set scales, ticks and labels of a panel. close: power of ten below which the vertical axis is linear."""
    despine(axes)
    axes.set_yscale("symlog", linthresh=10.0**close, linscale=0.5)
    axes.axhline(0, color=GREY, linewidth=1, zorder=0)
    lowest = min(axes.dataLim.y0, -10 * 10.0**close)
    decades = range(close, max(int(np.ceil(np.log10(-lowest))), close + 1) + 1)
    axes.set_yticks([0.0, *(-(10.0**k) for k in decades)])
    axes.yaxis.set_major_formatter(FuncFormatter(_tick_label))
    axes.minorticks_off()
    axes.set_ylim(1.3 * lowest, 0.6 * 10.0**close)
    axes.set_xlabel(label)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def _tick_label(value: float, _: int | None = None) -> str:
    """A distance from the best bound as a power of ten."""
    return "best" if value == 0 else f"$-10^{{{round(np.log10(-value))}}}$"
