"""The parameters of the components: probabilities of categories, rates of counts, means of many columns."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...criticism.comparison import Comparison
from ...criticism.component_profiles import component_shares
from ...criticism.density_or_probability import DENSITY, column_measures
from .agreement import agreement
from .component_ellipses import MATRIX_COLUMNS
from .profile_layout import MOST_DOTS, most_different_panels, plan_panels
from .profile_panels import ProfilePanel, profile_panels
from .style import blank_figure, join_names, set_title_and_caption

MOST_FITS = 3
SAME = 0.02  # share of the axis: fits whose numbers differ by less are drawn once


def profiles_figure(comparison: Comparison, models: dict[str, Any]) -> Figure | None:
    """The components of each fit; fits that look the same are drawn once.

    None for models without components, for continuous data of up to 4 columns and for a single column of counts, which
    the data figure shows in full.
    """
    rows = comparison.x
    drawn = {name: profile_panels(comparison, model) for name, model in models.items()}
    drawn = {name: found for name, found in drawn.items() if found}
    if not drawn:
        return None
    first = next(iter(models.values()))
    plain = not any(panel.probability for panel in next(iter(drawn.values())))
    continuous = all(measure == DENSITY for measure in column_measures(first, rows))
    if plain and (rows.features == 1 or (continuous and rows.features <= MATRIX_COLUMNS)):
        return None
    groups = _group_equal_fits(drawn)
    shown = dict(list(groups.items())[:MOST_FITS])
    drawn |= dict(zip(shown, _on_one_scale([drawn[name] for name in shown]), strict=True))
    notes: dict[str, None] = {}
    width = {1: 8.5, 2: 12.0}.get(len(shown), 15.0)
    room = width / len(shown)
    plans = {name: plan_panels(most_different_panels(drawn[name], notes), room, notes) for name in shown}
    height = max(sum(each.height for each in plan) for plan in plans.values())
    figure = blank_figure(width, height + 0.8 + 0.3 * (len(shown) > 1))
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
    return set_title_and_caption(figure, _title(groups, drawn, agreement(comparison)), " ".join(notes))


def _group_equal_fits(drawn: dict[str, list[ProfilePanel]]) -> dict[str, list[str]]:
    """Group the fits that look the same, by the first of each group."""
    groups: dict[str, list[str]] = {}
    for name, found in drawn.items():
        like = next((other for other in groups if _look_the_same(drawn[other], found)), name)
        groups.setdefault(like, []).append(name)
    return groups


def _on_one_scale(fits: list[list[ProfilePanel]]) -> list[list[ProfilePanel]]:
    """The panels of several fits with one axis for panels of the same columns."""
    limits: dict[tuple, list[float]] = {}
    for panel in itertools.chain(*fits):
        limits.setdefault((panel.kind, *panel.columns), []).extend((panel.low, panel.high))
    return [
        [replace(p, low=min(limits[p.kind, *p.columns]), high=max(limits[p.kind, *p.columns])) for p in found]
        for found in fits
    ]


def _look_the_same(ours: list[ProfilePanel], theirs: list[ProfilePanel]) -> bool:
    """Whether the numbers of two fits are so close that one picture shows both."""
    if [(p.kind, p.values.shape) for p in ours] != [(p.kind, p.values.shape) for p in theirs]:
        return False
    return all(np.abs(a.values - b.values).max() < SAME * (a.high - a.low) for a, b in zip(ours, theirs, strict=True))


def _names(group: list[str]) -> str:
    """The first fit of a group, and the fits that look the same."""
    return f"{group[0]} (the same: {', '.join(group[1:])})" if len(group) > 1 else group[0]


def _title(groups: dict[str, list[str]], drawn: dict[str, list[ProfilePanel]], agreed: str | None) -> str:
    """Whether the fits agree, and in which columns the components differ most."""
    found = next(iter(drawn.values()))
    k = len(found[0].values)
    if len(groups) > 1:
        return _of_fits(list(groups), agreed)
    apart: dict[str, float] = {}
    for panel in found:
        for name, spread in zip(panel.names, panel.spread, strict=True):
            column = panel.kind if panel.levels else name.split(" = ")[0]
            apart[column] = max(float(spread), apart.get(column, 0.0))
    unlike = ""
    if k > 1 and 2 < len(apart) <= MOST_DOTS:
        unlike = f", which differ most in {' and '.join(sorted(apart, key=lambda column: -apart[column])[:2])}"
    names = list(drawn)
    if len(names) > 1 and agreed == "different":  # in numbers that are too small to be seen
        return _of_fits(names, None)
    who = f"{join_names(names, len(names))} agree on" if len(names) > 1 else f"{names[0]} finds"
    return f"{who} {k} component{'s' if k > 1 else ''}{unlike}"


def _of_fits(names: list[str], agreed: str | None) -> str:
    who = join_names(names, len(names), capital=agreed is not None)
    return f"{who} find {agreed} components" if agreed else f"Components of {who}"
