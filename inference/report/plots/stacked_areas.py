"""The component probabilities of each row as stacked areas."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import COLOURS, blank_figure, despine

CERTAIN = 0.95  # a row is certain if a component has this probability


def stacked_areas(probabilities: dict[str, np.ndarray]) -> Figure:
    """One panel for each fit: the rows side by side, sorted by component, with their probabilities stacked."""
    first = next(iter(probabilities.values()))
    components = max(p.shape[1] for p in probabilities.values())
    figure = blank_figure(10, 1.7 * len(probabilities) + 1.3)
    grid = figure.subplots(len(probabilities), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, p) in zip(grid, probabilities.items(), strict=True):
        key = first if have_same_components(probabilities) else p
        _areas(axes, p[np.lexsort((-key.max(1), key.argmax(1)))])
        axes.set_title(f"{name}: {uncertain_note(p)}", fontsize=11, loc="left")
        axes.set_ylabel("probability")
    which = "the first" if have_same_components(probabilities) else "each"
    grid[-1].set_xlabel(f"rows, sorted by the component and certainty of {which} fit")
    handles, labels = max((axes.get_legend_handles_labels() for axes in grid), key=lambda both: len(both[1]))
    figure.legend(handles, labels, loc="outside right center", frameon=False, ncols=1 if components <= 10 else 2)
    return figure


def _areas(axes: Axes, p: np.ndarray) -> None:
    """Draw stacked steps (n, k), one colour for each component; from the ninth on, colours repeat with hatches."""
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
    despine(axes)


def have_same_components(probabilities: dict[str, np.ndarray]) -> bool:
    """Whether all fits have the same number of components, so that component j is matched and rows have one order."""
    return len({p.shape[1] for p in probabilities.values()}) == 1


def _longest_run(flags: np.ndarray) -> tuple[int, int]:
    """Start and length of the longest run of True."""
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    starts, lengths = changes[::2], np.diff(changes)[::2]
    if len(starts) == 0:
        return 0, 0
    longest = int(lengths.argmax())
    return int(starts[longest]), int(lengths[longest])


def uncertain_note(p: np.ndarray) -> str:
    """How many rows have no component above `CERTAIN`, in words."""
    count = int((p.max(1) < CERTAIN).sum())
    return f"{count} of {len(p)} rows uncertain (no component above {CERTAIN})"
