"""What a model may offer beyond the contract, for tables and pictures: labels, moments, a summary; or nothing."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pandas as pd
import torch

from ..models.rows import Moments
from .align import align
from .compare import Comparison


def relabelled(comparison: Comparison) -> dict[str, Any]:
    """Copies of the fitted models with one labelling: the first in its canonical order, the others aligned to it.

    Models with another number of components than the first come in their own canonical order, and models without
    labels as they are.
    """
    models: dict[str, Any] = {name: copy.deepcopy(fit.model) for name, fit in comparison.fits.items()}
    first = next(iter(models.values()))
    for model in models.values():
        if not (hasattr(model, "canonical_order") and hasattr(model, "permute")):
            continue
        model.permute(model.canonical_order())
        if model is not first:
            with contextlib.suppress(TypeError, ValueError):  # raised where there is nothing to align
                model.permute(align(first, model, comparison.x))
    return models


def component_moments(model: Any) -> Moments | None:
    """Means (k, d) and covariances (k, d, d) of the components, None where they have none that are finite."""
    family: Any = getattr(model, "family", None)
    if not hasattr(family, "moments"):
        return None
    try:
        with torch.no_grad():
            moments = family.moments()
    except NotImplementedError:  # a distribution without a mean, in the words of torch
        return None
    finite = torch.isfinite(moments.mean).all() and torch.isfinite(moments.covariance).all()
    return moments if finite else None


def component_tables(comparison: Comparison) -> list[pd.DataFrame]:
    """The components of all fits side by side, indexed by (component, fit), counted from 1 as they are `relabelled`.

    One table for each kind of summary and number of components; fits whose model gives none are left out.
    """
    kinds: dict[tuple, list[pd.DataFrame]] = {}
    for name, model in relabelled(comparison).items():
        if not hasattr(model, "summary"):
            continue
        table = model.summary(comparison.x.columns)
        table.index = pd.MultiIndex.from_tuples([(j + 1, name) for j in table.index], names=["component", "fit"])
        kinds.setdefault((len(table), *table.columns), []).append(table)
    return [pd.concat(tables).sort_index(level="component", sort_remaining=False) for tables in kinds.values()]


def furthest(comparison: Comparison, column: str) -> float:
    """The largest entry of a column of `Comparison.pairs()`, NaN if some pair has none."""
    return float(comparison.pairs()[column].to_numpy().max(initial=0.0))


def called(model: Any) -> str:
    """How the model was made, where it remembers: Mixture(Gaussian(2, 2, 'full'))."""
    if not hasattr(model, "arguments"):
        return repr(model) if isinstance(model, str | int | float | None) else type(model).__name__
    positional, named = model.arguments
    words = [*map(called, positional), *(f"{name}={called(value)}" for name, value in named.items())]
    return f"{type(model).__name__}({', '.join(words)})"
