"""Bounds of held-out rows beside those of the rows of the fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ...engines.convergence import best_pass
from .style import GREY, FitStyle, despine

LEVEL = 0.01  # nats per row: held-out bounds that change by less are level
EARLY = 0.2  # share of the passes whose steep rise is off the axis, where it would flatten the rest


def draw_held_out(axes: Axes, styles: dict[str, FitStyle], fits: dict[str, Any]) -> None:
    """Draw the bounds of held-out rows, thin, and of the rows of the fit, thick; the best pass has a marker."""
    shown: list[np.ndarray] = []
    endings = []
    for name, fit in fits.items():
        style, held, own = styles[name], fit.held_out.numpy(), fit.bounds.numpy()
        passes, top = np.arange(1, len(held) + 1), best_pass(held.tolist())
        axes.plot(passes[: len(own)], own, color=style.color, linestyle=style.dash, linewidth=style.width * 0.7)
        axes.plot(passes, held, color=style.color, linewidth=1)
        axes.plot(passes[top], held[top], style.marker, color=style.color, markersize=8, zorder=5)
        start = int(EARLY * len(held))
        shown += [held[min(start, top) :], own[min(start, len(own) - 1) :]]
        rise = held[-1] - held[-1 - max(1, len(held) // 10)] if len(held) > 1 else 0.0  # of the last tenth
        end = "still rising" if rise > LEVEL else "level at the end"
        if held[top] - held[-1] > LEVEL:
            end = f"best at pass {top + 1} of {len(held)}, then {held[top] - held[-1]:.2g} lower"
        endings.append(f"{name}: {end}")
    despine(axes).set_title("held out\n" + "\n".join(endings), fontsize=10)
    axes.plot([], [], color=GREY, linewidth=3, label="rows of the fit")
    axes.plot([], [], color=GREY, linewidth=1, label="held out")
    values = np.concatenate(shown)
    values = values[np.isfinite(values)]
    if len(values):
        margin = 0.06 * float(np.ptp(values)) or 1.0
        axes.set_ylim(values.min() - margin, values.max() + margin)
    axes.set(xlabel="passes over the rows", ylabel="bound (nats per row)")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
