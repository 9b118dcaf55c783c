"""What the components are: probabilities of categories, rates of counts, means of many columns."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure

from ...criticism.column_measures import DENSITY, column_measures
from ...criticism.comparison import Comparison
from ...criticism.component_profiles import component_shares
from .bars import bars
from .data import MATRIX_COLUMNS
from .dots import dots
from .panels import Panel, panels, picture
from .style import blank, describe, listed
from .tiles import heatmap, pictures

MOST_BARS = 10  # columns of bars that a reader takes in
MOST_DOTS = 24  # columns of dots; of more the numbers are shown as shades
MOST_FITS = 3
SAME = 0.02  # of the axis: fits whose numbers differ by less are drawn once
NEAR = 0.2  # of the axis: fits whose numbers differ by less see nearly the same


def profiles_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """Each fit's components, those of fits that look the same once. None for continuous data of up to 4 columns and for
    a single column of counts, which the data figure shows in full, and for models without components."""
    rows = comparison.x
    drawn = {name: panels(comparison, model) for name, model in models.items()}
    drawn = {name: found for name, found in drawn.items() if found}
    if not drawn:
        return None
    first = next(iter(models.values()))
    plain = not any(panel.probability for panel in next(iter(drawn.values())))
    continuous = all(measure == DENSITY for measure in column_measures(first, rows))
    if plain and (rows.features == 1 or (continuous and rows.features <= MATRIX_COLUMNS)):
        return None
    groups = _groups(drawn)
    shown = dict(list(groups.items())[:MOST_FITS])
    drawn |= dict(zip(shown, _on_one_scale([drawn[name] for name in shown]), strict=True))
    notes: dict[str, None] = {}
    width = {1: 8.5, 2: 12.0}.get(len(shown), 15.0)
    room = width / len(shown)
    plans = {name: _plan(_thinned(drawn[name], notes), room, notes) for name in shown}
    height = max(sum(each.height for each in plan) for plan in plans.values())
    figure = blank(width, height + 0.8 + 0.3 * (len(shown) > 1))
    parts = np.atleast_1d(np.asarray(figure.subfigures(1, len(shown))))
    for part, (name, plan) in zip(parts, plans.items(), strict=True):
        if len(shown) > 1:
            part.suptitle(_names(shown[name]), fontsize=12)
        grid = part.add_gridspec(len(plan), 1, height_ratios=[each.height for each in plan])
        shares = component_shares(models[name], rows)
        for i, each in enumerate(plan):
            each.draw(part, grid[i], shares)
    if len(groups) > len(shown):
        notes[f"The first {len(shown)} of {len(groups)} fits that differ are shown."] = None
    notes["Components are numbered as in the tables; percentages are their shares of the rows."] = None
    return describe(figure, _takeaway(groups, drawn), " ".join(notes))


@dataclass(frozen=True)
class _Strip:
    """A panel with its place: inches, and what draws it there."""

    height: float
    draw: Callable[[SubFigure, Any, list[float]], Any]


def _plan(found: list[Panel], width: float, notes: dict[str, None]) -> list[_Strip]:
    """How panels are drawn, one below the other, in so many inches; `notes` takes how they are read."""
    plan: list[_Strip] = []
    keyed = False
    for panel in found:
        k, m = panel.values.shape
        shape = picture(panel.names)
        if panel.levels:
            notes["Each bar is a component, divided by the probabilities of the categories."] = None
            plan.append(_Strip(0.62 + 0.3 * k, partial(_bars, panel)))
        elif shape is not None:
            notes[f"Each picture is a component: {panel.kind}, at the place of each column; darker is more."] = None
            across = min(k, 5)
            side = (width - 1.2) / max(across, 3) * shape[0] / shape[1]
            plan.append(_Strip(-(-k // across) * (side + 0.35), partial(_pictures, panel, shape, across)))
        elif m > MOST_DOTS:
            notes[f"Each line of shades is a component: {panel.kind}; darker is more."] = None
            plan.append(_Strip(1.4 + 0.3 * k, partial(_heatmap, panel)))
        else:
            notes["Each sign is a component, the upright grey tick all of them together."] = None
            plan.append(_Strip(0.9 + m * max(0.34, 0.09 * k), partial(_dots, panel, not keyed)))
            keyed = True
    return plan


def _bars(panel: Panel, part: SubFigure, place: Any, shares: list[float]) -> None:
    bars(part.add_subplot(place), panel, shares)


def _heatmap(panel: Panel, part: SubFigure, place: Any, shares: list[float]) -> None:
    heatmap(part.add_subplot(place), panel, shares)


def _dots(panel: Panel, key: bool, part: SubFigure, place: Any, shares: list[float]) -> None:
    dots(part.add_subplot(place), panel, shares, key)


def _pictures(
    panel: Panel, shape: tuple[int, int], across: int, part: SubFigure, place: Any, shares: list[float]
) -> None:
    pictures(part, place, panel, shares, shape, across)


def _thinned(found: list[Panel], notes: dict[str, None]) -> list[Panel]:
    """Of many columns of bars those in which the components differ most."""
    columns = [panel for panel in found if panel.levels]
    if len(columns) <= MOST_BARS:
        return found
    kept = sorted(columns, key=lambda panel: -panel.spread.max())[:MOST_BARS]
    notes[f"The {MOST_BARS} of {len(columns)} columns in which the components differ most are shown."] = None
    return [panel for panel in found if not panel.levels or any(panel is each for each in kept)]


def _groups(drawn: dict[str, list[Panel]]) -> dict[str, list[str]]:
    """Fits by the first of those that look the same."""
    groups: dict[str, list[str]] = {}
    for name, found in drawn.items():
        like = next((other for other in groups if _alike(drawn[other], found)), name)
        groups.setdefault(like, []).append(name)
    return groups


def _on_one_scale(fits: list[list[Panel]]) -> list[list[Panel]]:
    """The panels of several fits, those of the same columns with the same axis."""
    ends: dict[tuple, list[float]] = {}
    for panel in itertools.chain(*fits):
        ends.setdefault((panel.kind, *panel.columns), []).extend((panel.low, panel.high))
    return [
        [replace(p, low=min(ends[p.kind, *p.columns]), high=max(ends[p.kind, *p.columns])) for p in found]
        for found in fits
    ]


def _alike(ours: list[Panel], theirs: list[Panel], within: float = SAME) -> bool:
    """Whether nothing would be drawn further away than this share of the axis."""
    if [(p.kind, p.values.shape) for p in ours] != [(p.kind, p.values.shape) for p in theirs]:
        return False
    return all(np.abs(a.values - b.values).max() < within * (a.high - a.low) for a, b in zip(ours, theirs, strict=True))


def _names(group: list[str]) -> str:
    return f"{group[0]} (the same: {', '.join(group[1:])})" if len(group) > 1 else group[0]


def _takeaway(groups: dict[str, list[str]], drawn: dict[str, list[Panel]]) -> str:
    found = next(iter(drawn.values()))
    k = len(found[0].values)
    if len(groups) > 1:
        who = listed(list(groups), len(groups))
        near = all(_alike(found, drawn[other], NEAR) for other in groups)
        return f"{who} see {f'nearly the same {k}' if near else 'different'} components"
    apart: dict[str, float] = {}
    for panel in found:
        for name, spread in zip(panel.names, panel.spread, strict=True):
            column = panel.kind if panel.levels else name.split(" = ")[0]
            apart[column] = max(float(spread), apart.get(column, 0.0))
    unlike = ""
    if k > 1 and 2 < len(apart) <= MOST_DOTS:
        unlike = f", most unlike in {' and '.join(sorted(apart, key=lambda column: -apart[column])[:2])}"
    names = list(drawn)
    who = f"{listed(names, len(names))} agree on" if len(names) > 1 else f"{names[0]} finds"
    return f"{who} {k} component{'s' if k > 1 else ''}{unlike}"
