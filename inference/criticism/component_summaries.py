"""What a model may offer beyond the contract, for tables and pictures: labels, moments, a summary; or nothing."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from ...data.moments import Moments
from ...models import Profile, Rows
from .align import align
from .comparison import Comparison


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


def component_profiles(model: Any) -> list[Profile]:
    """The numbers by which the components are known, see `Profile`; none of a model without components."""
    family: Any = getattr(model, "family", None)
    with torch.no_grad():
        return family.profiles() if hasattr(family, "profiles") else []


def component_shares(model: Any, rows: Rows) -> list[float]:
    """The share of the rows, or of a sample of many, that each component has by its posterior; none without such."""
    chunk = rows.sample(torch.Generator().manual_seed(0))
    posterior = model.posterior(chunk.x)
    if not isinstance(posterior, torch.distributions.Categorical):
        return []
    weights = torch.ones(len(chunk.x), dtype=torch.float64) if chunk.weights is None else chunk.weights
    return (weights @ posterior.probs.double() / weights.sum()).tolist()


def measured(model: Any, columns: int) -> list[int]:
    """The columns that hold numbers, not categories: those of which the model gives more than probabilities of levels.

    All of them for a model without components.
    """
    levels = {j for profile in component_profiles(model) if profile.levels is not None for j in profile.columns}
    return [j for j in range(columns) if j not in levels]


def component_moments(model: Any, columns: Sequence[int]) -> Moments | None:
    """Means (k, d) and covariances (k, d, d) of the components in d columns, None where they are not finite."""
    family: Any = getattr(model, "family", None)
    if not hasattr(family, "moments"):
        return None
    try:
        with torch.no_grad():
            whole, index = family.moments(), torch.as_tensor(columns, dtype=torch.long)
    except NotImplementedError:  # a distribution without a mean, in the words of torch
        return None
    moments = Moments(whole.mean[:, index], whole.covariance[:, index][:, :, index])
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
        table = model.summary(comparison.x.columns, comparison.x.levels)
        table.index = pd.MultiIndex.from_tuples([(j + 1, name) for j in table.index], names=["component", "fit"])
        kinds.setdefault((len(table), *table.columns), []).append(table)
    return [pd.concat(tables).sort_index(level="component", sort_remaining=False) for tables in kinds.values()]


def written(table: pd.DataFrame, width: int, most: int) -> tuple[list[str], list[list[str]], int]:
    """A table of `component_tables` in words: its header, its lines, and how many columns are left out after `most`.

    One line for each component and fit, or, if that is wider than `width` characters, one for each column.
    """
    shown = table.iloc[:, :most]
    cells = [[f"{value:#.5g}".rstrip(".") for value in line] for line in shown.to_numpy()]
    alone = table.index.get_level_values("fit").nunique() == 1
    heads = [[str(component)] if alone else [str(component), str(fit)] for component, fit in table.index]
    names = [str(name) for name in shown.columns]
    left = table.shape[1] - len(names)
    across = sum(max(map(len, column)) + 3 for column in zip(names, *cells, strict=True)) + 20
    if across <= width:
        return ["component", "fit"][: len(heads[0])] + names, [h + c for h, c in zip(heads, cells, strict=True)], left
    lines = [[name, *line] for name, line in zip(names, zip(*cells, strict=True), strict=True)]
    return ["component", *(" ".join(head) for head in heads)], lines, left


def furthest(comparison: Comparison, column: str) -> float:
    """The largest entry of a column of `Comparison.pairs()`, NaN if some pair has none."""
    return float(comparison.pairs()[column].to_numpy().max(initial=0.0))


def called(model: Any) -> str:
    """How the model was made, where it remembers: Mixture(Gaussian(2, 2, 'full'))."""
    if not hasattr(model, "arguments"):
        if isinstance(model, list | tuple):
            return f"[{', '.join(map(called, model))}]"
        return repr(model) if isinstance(model, str | int | float | None) else type(model).__name__
    positional, named = model.arguments
    words = [*map(called, positional), *(f"{name}={called(value)}" for name, value in named.items())]
    return f"{type(model).__name__}({', '.join(words)})"
