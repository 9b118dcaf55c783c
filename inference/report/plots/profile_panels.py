"""The numbers by which the components are known, sorted into panels of one axis each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...criticism.compare import DENSITY, measures
from ...criticism.comparison import Comparison
from ...criticism.component_summaries import component_profiles
from .picture_shape import shape_from_names


@dataclass(frozen=True)
class ProfilePanel:
    """Numbers of one kind, on one axis: values (k, m) of m columns, or, if these are the probabilities of the levels of
    one column, whose name is then the kind, (k, L)."""

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
        """(m,) how far the components are apart, in shares of the axis."""
        return np.ptp(self.values, axis=0) / (self.high - self.low)


def profile_panels(comparison: Comparison, model: Any) -> list[ProfilePanel]:
    """The first numbers that the model's profiles have for each column, those of one kind together."""
    rows = comparison.x
    names, words = rows.columns, rows.levels
    made: list[ProfilePanel] = []
    seen: set[int] = set()
    for profile in component_profiles(model):
        wanted = [i for i, column in enumerate(profile.columns) if column >= 0 and column not in seen]
        if not wanted:
            continue
        columns = [profile.columns[i] for i in wanted]
        seen.update(columns)
        values = profile.values[:, wanted].numpy()
        if profile.levels is None:
            made += _number_panels(comparison, model, profile.kind, columns, values)
            continue
        levels = [profile.levels[i] for i in wanted]
        label = [str((words[c] or {})[v] if words[c] else v) for c, v in zip(columns, levels, strict=True)]
        count = {c: columns.count(c) for c in dict.fromkeys(columns)}
        if max(count.values()) <= 2:  # the last level says all
            last = [max(i for i, each in enumerate(columns) if each == c) for c in count]
            alike = {label[i] for i in last}
            kind = f"probability of {alike.pop()}" if len(alike) == 1 else "probability"
            titles = [names[columns[i]] if kind != "probability" else f"{names[columns[i]]} = {label[i]}" for i in last]
            made.append(ProfilePanel(kind, titles, values[:, last], 0, 1, list(count), probability=True))
            continue
        for c in count:
            own = [i for i, each in enumerate(columns) if each == c]
            made.append(
                ProfilePanel(
                    names[c], [label[i] for i in own], values[:, own], 0, 1, [c], probability=True, levels=True
                )
            )
    return made


def _number_panels(
    comparison: Comparison, model: Any, kind: str, columns: list[int], values: np.ndarray
) -> list[ProfilePanel]:
    """Numbers of discrete columns as they are; of continuous ones in standard deviations of the data."""
    if not np.isfinite(values).all():
        return []
    found = measures(model, comparison.x)
    made = []
    for continuous in (True, False):
        own = [i for i, c in enumerate(columns) if (found[c] == DENSITY) == continuous]
        if not own:
            continue
        index = [columns[i] for i in own]
        part, title = values[:, own], kind
        if continuous and shape_from_names([comparison.x.columns[c] for c in index]) is None:  # pixels have one unit
            moments = comparison.x.moments
            deviation = moments.covariance.diagonal().sqrt()[index].numpy()
            part = (part - moments.mean[index].numpy()) / np.where(deviation > 0, deviation, 1)
            title = f"{kind}, in standard deviations from the mean of all rows"
        low, high = (part.min(), part.max()) if continuous else (min(part.min(), 0.0), part.max())
        low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
        made.append(ProfilePanel(title, [comparison.x.columns[c] for c in index], part, float(low), float(high), index))
    return made
