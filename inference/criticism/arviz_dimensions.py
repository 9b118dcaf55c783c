"""The dimensions of parameters in ArviZ, and their coordinates: component, feature, level and so on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import Product, Rows
from .mixture_draws import column_moments
from .pointwise_log_likelihood import View

Arrays = dict[str, tuple[tuple[str, ...], np.ndarray]]  # by name: dimensions, and values with draws on axis 0


class Dimensions:
    """The dimensions of the parameters of a family fitted to rows. `coords` grows as parameters are asked for."""

    def __init__(self, family: Any, rows: Rows, shared: frozenset[str]):
        self.k, self.shared = family.components, shared
        names = rows.columns if rows.schema else [f"column {j}" for j in range(rows.features)]
        levels = rows.levels if rows.schema else [None] * rows.features
        self.groups = _groups(family, range(rows.features))
        self.coords: dict[str, Any] = {
            "component": np.arange(self.k),
            "place": np.arange(self.k),
            "stick": np.arange(self.k - 1),
        }
        self.columns = np.array(list(map(str, names)))
        self.level_names: dict[str, Any] = {}
        for suffix, own in self.groups.items():
            self.coords[f"feature{suffix}"] = self.coords[f"feature_other{suffix}"] = self.columns[list(own)]
            each = {tuple(levels[j] or ()) for j in own}
            self.level_names[f"level{suffix}"] = list(map(str, each.pop())) if len(each) == 1 else []

    def of_parameter(self, name: str, value: Tensor) -> tuple[str, ...]:
        """The dimensions of a parameter. value: one draw of it."""
        if name in ("weights", "sticks"):
            return ("component",) if name == "weights" else ("stick",)
        lead = () if name in self.shared else ("component",)
        suffix = max((suffix for suffix in self.groups if name.endswith(suffix)), key=len)  # "" if there is no other
        sizes, d = value.shape[len(lead) :], len(self.groups[suffix])
        if not sizes or sizes[0] != d or len(sizes) > 2:
            return (*lead, *(f"{name}_dim_{i}" for i in range(len(sizes))))
        if len(sizes) == 1:
            return (*lead, f"feature{suffix}")
        if sizes[1] == d and not name.startswith("probs"):
            return (*lead, f"feature{suffix}", f"feature_other{suffix}")
        names = self.level_names[f"level{suffix}"]
        self.coords[f"level{suffix}"] = np.array(names) if len(names) == sizes[1] else np.arange(sizes[1])
        return (*lead, f"feature{suffix}", f"level{suffix}")

    def column_moments(self, views: list[View]) -> Arrays:
        """mixture_mean and mixture_sd of the columns where they are finite in all draws."""
        try:
            each = [column_moments(*view) for view in views]
        except NotImplementedError:  # torch raises this for a distribution without moments
            return {}
        found: Arrays = {}
        for name, values in zip(("mixture_mean", "mixture_sd"), map(torch.stack, zip(*each, strict=True)), strict=True):
            kept = values.isfinite().all(0).numpy()
            dim = "feature" if kept.all() else f"{name}_feature"
            self.coords[dim] = self.columns[kept]
            if kept.any():
                found[name] = ((dim,), values.numpy()[:, kept])
        return found


def _groups(family: Any, columns: Sequence[int], suffix: str = "") -> dict[str, Sequence[int]]:
    """The columns of each group of a `Product`, and of groups inside groups, by the end of their parameters' names."""
    found = {suffix: columns}
    if isinstance(family, Product):
        for g, (part, own) in enumerate(zip(family.families, family.columns, strict=True)):
            found |= _groups(part, [columns[j] for j in own], f"_{g}{suffix}")
    return found
