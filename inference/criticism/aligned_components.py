"""The components of all fits of a comparison under one labelling: aligned copies of the models, and their tables."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pandas as pd

from ...models.abilities import HasComponents, Summarizes
from .align import align
from .comparison import Comparison


def aligned_models(comparison: Comparison) -> dict[str, Any]:
    """Copies of the fitted models with one labelling: the first in its canonical order, the others aligned to it.

    A model with another number of components than the first has its own canonical order. A model without components is
    copied as it is.
    """
    models: dict[str, Any] = {name: copy.deepcopy(fit.model) for name, fit in comparison.fits.items()}
    first = next(iter(models.values()))
    with_components: list[Any] = [model for model in models.values() if isinstance(model, HasComponents)]
    for model in with_components:
        model.permute(model.canonical_order())
        if model is not first:
            with contextlib.suppress(TypeError, ValueError):  # raised where components cannot be matched
                model.permute(align(first, model, comparison.x))
    return models


def component_tables(comparison: Comparison) -> list[pd.DataFrame]:
    """The components of all fits side by side, indexed by (component, fit). Components are aligned and count from 1.

    There is one table for each kind of summary and number of components. Models without a summary are left out.
    """
    kinds: dict[tuple, list[pd.DataFrame]] = {}
    for name, model in aligned_models(comparison).items():
        if not isinstance(model, Summarizes):
            continue
        table = model.summary(comparison.x.columns, comparison.x.levels)
        table.index = pd.MultiIndex.from_tuples([(j + 1, name) for j in table.index], names=["component", "fit"])
        kinds.setdefault((len(table), *table.columns), []).append(table)
    return [pd.concat(tables).sort_index(level="component", sort_remaining=False) for tables in kinds.values()]
