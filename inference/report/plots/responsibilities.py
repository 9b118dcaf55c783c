"""How sure each fit is of the component of each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from ...criticism.comparison import Comparison
from ...criticism.component_profiles import numeric_columns
from ...criticism.pair_distances import largest_distance
from ..comparison_text import number
from .style import COLOURS, blank, describe, ticks, tidy

DRAWN_ROWS = 2000
SURE = 0.95
# from component 2 over grey to component 1, in the first two colours of Okabe & Ito
SCALE = LinearSegmentedColormap.from_list("two components", [COLOURS[1], "#d9d9d9", COLOURS[0]])


def responsibilities_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """Two components in two columns: the rows, coloured by the probability of component 1. Otherwise: the rows side by
    side, the probabilities of their components stacked. None without a categorical posterior."""
    x = comparison.x.sample(torch.Generator().manual_seed(0), DRAWN_ROWS).x
    probabilities = {}
    for name, model in models.items():
        posterior = model.posterior(x)
        if isinstance(posterior, torch.distributions.Categorical):
            probabilities[name] = posterior.probs.numpy()
    if not probabilities:
        return None
    if len(numeric_columns(next(iter(models.values())), 2)) == x.shape[1] == 2 and all(
        p.shape[1] == 2 for p in probabilities.values()
    ):
        figure = _scatter(probabilities, x.numpy(), comparison.x.columns)
        reading = (
            f"Each dot is a row: blue circles belong to component 1, orange crosses to component 2, larger ones "
            f"outlined in black have no component above {SURE}."
            + " Ticks on an axis are rows of which the other column is missing."
            * bool(x.isnan().any())
        )
    else:
        figure = _stack(probabilities)
        reading = (
            "Each row is a thin column, its height shared among the components by their probabilities, sorted by the "
            f"component and certainty of {'the first' if _matched(probabilities) else 'each'} fit. Clean blocks: sure; "
            "mixed colours: unsure."
        )
    return describe(figure, _takeaway(comparison, probabilities), reading)


def _scatter(probabilities: dict[str, np.ndarray], x: np.ndarray, columns: list[str]) -> Figure:
    across = 2 if len(probabilities) == 4 else min(len(probabilities), 3)
    down = -(-len(probabilities) // across)
    figure = blank(4.2 * across + 1.2, 3.9 * down + 0.6)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    shown = list(grid.flat[: len(probabilities)])
    for axes in grid.flat[len(probabilities) :]:
        axes.remove()
    for axes, (name, p) in zip(shown, probabilities.items(), strict=True):
        unsure = p.max(1) < SURE
        seen = ~np.isnan(x).any(1)
        for component, marker in ((0, "o"), (1, "X")):
            mine = seen & (p.argmax(1) == component)
            for part, style in (
                (mine & ~unsure, {"s": 22, "linewidths": 0}),
                (mine & unsure, {"s": 60, "linewidths": 1, "edgecolors": "black"}),
            ):
                axes.scatter(*x[part].T, c=p[part, 0], cmap=SCALE, vmin=0, vmax=1, marker=marker, alpha=0.9, **style)
        ticks(axes, x, p[:, 0], cmap=SCALE, vmin=0, vmax=1, linewidths=1.5)
        tidy(axes).set_title(f"{name}\n{_unsure(p)}", fontsize=10)
        axes.label_outer()
    for axes in shown[-across:]:  # those with no panel below
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(columns[0])
    for axes in grid[:, 0]:
        axes.set_ylabel(columns[1])
    figure.colorbar(ScalarMappable(Normalize(0, 1), SCALE), ax=shown, label="probability of component 1", shrink=0.8)
    return figure


def _stack(probabilities: dict[str, np.ndarray]) -> Figure:
    first = next(iter(probabilities.values()))
    components = max(p.shape[1] for p in probabilities.values())
    figure = blank(10, 1.7 * len(probabilities) + 1.3)
    grid = figure.subplots(len(probabilities), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, p) in zip(grid, probabilities.items(), strict=True):
        key = first if _matched(probabilities) else p
        _areas(axes, p[np.lexsort((-key.max(1), key.argmax(1)))])
        axes.set_title(f"{name}: {_unsure(p)}", fontsize=11, loc="left")
        axes.set_ylabel("probability")
    which = "the first" if _matched(probabilities) else "each"
    grid[-1].set_xlabel(f"rows, sorted by the component and certainty of {which} fit")
    handles, labels = max((axes.get_legend_handles_labels() for axes in grid), key=lambda both: len(both[1]))
    figure.legend(handles, labels, loc="outside right center", frameon=False, ncols=1 if components <= 10 else 2)
    return figure


def _areas(axes: Axes, p: np.ndarray) -> None:
    """Stacked steps, one colour each; from the ninth component on the colours come again, hatched."""
    edges = np.arange(len(p) + 1)
    floor = np.zeros(len(p) + 1)
    for j, share in enumerate(p.T):
        top = floor + np.append(share, share[-1])
        axes.fill_between(
            edges, floor, top, step="post", facecolor=COLOURS[j % 8], hatch=("", "//", "..", "xx")[j // 8 % 4],
            edgecolor="white", linewidth=0, label=f"component {j + 1}",
        )  # fmt: skip
        start, length = _longest_run(p.argmax(1) == j)
        if length > 0.04 * len(p):
            dark = COLOURS[j % 8] not in (COLOURS[4], COLOURS[5], COLOURS[6])
            axes.text(
                start + length / 2, 0.5, str(j + 1), ha="center", va="center", weight="bold", fontsize=13,
                color="white" if dark else "black",
            )  # fmt: skip
        floor = top
    axes.set(xlim=(0, len(p)), ylim=(0, 1), yticks=[0, 0.5, 1])
    tidy(axes)


def _matched(probabilities: dict[str, np.ndarray]) -> bool:
    """Whether component j is the same in all fits, so that the rows can be in one order."""
    return len({p.shape[1] for p in probabilities.values()}) == 1


def _longest_run(mine: np.ndarray) -> tuple[int, int]:
    """Start and length of the longest run of True."""
    changes = np.flatnonzero(np.diff(np.concatenate([[0], mine.astype(int), [0]])))
    starts, lengths = changes[::2], np.diff(changes)[::2]
    if len(starts) == 0:
        return 0, 0
    longest = int(lengths.argmax())
    return int(starts[longest]), int(lengths[longest])


def _unsure(p: np.ndarray) -> str:
    count = int((p.max(1) < SURE).sum())
    return f"{count} of {len(p)} rows unsure (no component above {SURE})"


def _takeaway(comparison: Comparison, probabilities: dict[str, np.ndarray]) -> str:
    divergence = largest_distance(comparison, "posterior_kl")
    if len(probabilities) == 1:
        name, p = next(iter(probabilities.items()))
        return f"{name} is sure of {int((p.max(1) >= SURE).sum())} of {len(p)} rows"
    if not np.isfinite(divergence):  # no pair matches, or one is certain where another is not
        return "How sure each fit is of the component of each row"
    if divergence < 0.01:
        return f"The fits agree: posteriors {number(divergence, '{:.1g}')} nats apart on average"
    return f"The fits assign rows differently: posteriors {number(divergence, '{:.2g}')} nats apart on average"
