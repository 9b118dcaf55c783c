"""The parameters of the components, grouped into panels with one axis each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...criticism.comparison import Comparison
from ...criticism.component_profiles import component_profiles
from ...criticism.density_or_probability import DENSITY, column_measures
from .picture_shape import shape_from_names


@dataclass(frozen=True)
class ProfilePanel:
    """Numbers of one kind, on one axis from low to high: values (k, m) of m columns.

    With levels, the values (k, L) are the probabilities of the L levels of one column, and kind is its name.
    """

    kind: str
    names: list[str]
    values: np.ndarray
    low: float
    high: float
    columns: list[int]
    probability: bool = False
    levels: bool = False

    @property
    def spread(self) -> np.ndarray:
        """(m,) the range of the components in each column, as a share of the axis."""
        return np.ptp(self.values, axis=0) / (self.high - self.low)


def profile_panels(comparison: Comparison, model: Any) -> list[ProfilePanel]:
    """The panels of a model. A column is in the first of the model's profiles that has it."""
    rows = comparison.x
    names, words = rows.columns, rows.levels
    panels: list[ProfilePanel] = []
    done: set[int] = set()
    for profile in component_profiles(model):
        wanted = [i for i, column in enumerate(profile.columns) if column >= 0 and column not in done]
        if not wanted:
            continue
        columns = [profile.columns[i] for i in wanted]
        done.update(columns)
        values = profile.values[:, wanted].numpy()
        if profile.levels is None:
            panels += _number_panels(comparison, model, profile.kind, columns, values)
            continue
        levels = [profile.levels[i] for i in wanted]
        label = [str((words[c] or {})[v] if words[c] else v) for c, v in zip(columns, levels, strict=True)]
        count = {c: columns.count(c) for c in dict.fromkeys(columns)}
        if max(count.values()) <= 2:  # of two levels the probability of the last is enough
            last = [max(i for i, each in enumerate(columns) if each == c) for c in count]
            labels = {label[i] for i in last}
            kind = f"probability of {labels.pop()}" if len(labels) == 1 else "probability"
            titles = [names[columns[i]] if kind != "probability" else f"{names[columns[i]]} = {label[i]}" for i in last]
            panels.append(ProfilePanel(kind, titles, values[:, last], 0, 1, list(count), probability=True))
            continue
        for c in count:
            own = [i for i, each in enumerate(columns) if each == c]
            panels.append(
                ProfilePanel(
                    names[c], [label[i] for i in own], values[:, own], 0, 1, [c], probability=True, levels=True
                )
            )
    return panels


def _number_panels(
    comparison: Comparison, model: Any, kind: str, columns: list[int], values: np.ndarray
) -> list[ProfilePanel]:
    """Panels of numbers: discrete columns in their own units, continuous ones in standard deviations of the data."""
    if not np.isfinite(values).all():
        return []
    kinds = column_measures(model, comparison.x)
    panels = []
    for continuous in (True, False):
        own = [i for i, c in enumerate(columns) if (kinds[c] == DENSITY) == continuous]
        if not own:
            continue
        index = [columns[i] for i in own]
        part, title = values[:, own], kind
        # pixels all have the same unit
        if continuous and shape_from_names([comparison.x.columns[c] for c in index]) is None:
            moments = comparison.x.moments
            deviation = moments.covariance.diagonal().sqrt()[index].numpy()
            part = (part - moments.mean[index].numpy()) / np.where(deviation > 0, deviation, 1)
            title = f"{kind}, in standard deviations from the mean of all rows"
        low, high = (part.min(), part.max()) if continuous else (min(part.min(), 0.0), part.max())
        low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
        panels.append(
            ProfilePanel(title, [comparison.x.columns[c] for c in index], part, float(low), float(high), index)
        )
    return panels
