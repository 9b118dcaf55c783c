"""Which measure a model gives each column: probabilities of discrete values, or a density."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from pyro import poutine
from torch.distributions import constraints

from ...models import LatentModel, Rows
from ...models.continuous.networks import evaluation_mode
from ...models.families.joint_distribution import Columns
from ...models.param_store import one_pyro_program
from ...models.random_state import gpus, random_state_kept

DENSITY = "a density"  # the measure of continuous columns


def column_measures(model: LatentModel, rows: Rows) -> list[str]:
    """The measure of each column, in words, read off the support of `x` in the model's Pyro program."""
    # the program draws z
    with one_pyro_program(), random_state_kept(gpus(model)), torch.no_grad(), evaluation_mode(model):
        trace = poutine.trace(model.model).get_trace(next(rows.chunks(1)).x)
    support = trace.nodes["x"]["fn"].support  # type: ignore[reportTypedDictNotRequiredAccess, reportFunctionMemberAccess]
    return _measures_of_support(support, rows.features)


def require_one_measure(measures: dict[str, list[str]], rows: Rows) -> None:
    """Raise ValueError, with the names of two fits and the column, unless all fits have the same measures."""
    for (first, ours), (second, theirs) in itertools.combinations(measures.items(), 2):
        differ = [j for j, pair in enumerate(zip(ours, theirs, strict=True)) if len(set(pair)) > 1]
        if not differ:
            continue
        where = "" if len(differ) == len(ours) else f" in column {rows.columns[differ[0]]!r}"
        raise ValueError(
            f"{first} gives {ours[differ[0]]} and {second} {theirs[differ[0]]}{where}, expected fits of one measure: "
            "their log-likelihoods are in different units and cannot be ranked. Give all models the same kinds of "
            "columns, as by mixed(x, components, kinds=column_kinds(x))"
        )


def _measures_of_support(support: Any, columns: int) -> list[str]:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if isinstance(support, Columns):
        found = [""] * columns
        for part, group in zip(support.parts, support.columns, strict=True):
            for j, measure in zip(group, _measures_of_support(part, len(group)), strict=True):
                found[j] = measure
        return found
    if isinstance(support, constraints.multinomial):
        return ["probabilities of counts given the sum of their row"] * columns
    if isinstance(support, type(constraints.simplex)):
        return ["a density of shares"] * columns
    return ["probabilities of discrete data" if support.is_discrete else DENSITY] * columns
