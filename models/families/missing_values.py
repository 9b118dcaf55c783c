"""Rows with missing values (NaN): log densities and sums for the M-step.

A missing value is integrated out: the density of a row is p(observed values | z). The M-step gets the expected T(x) of
the row given its observed values, so that EM raises the likelihood of the observed values (Dempster, Laird & Rubin
1977). This is valid if values are missing at random.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import transform_to

from ...data.traced_rows import any_missing
from ..kernels.visit import Summarize
from .hooks.density import never_where_overflowed


@runtime_checkable
class ReadsRows(Protocol):
    """What the functions of this file ask of a family."""

    @property
    def features(self) -> int: ...
    @property
    def block_rows(self) -> int: ...
    def component(self, z: Any = ...) -> Any: ...
    def log_prob(self, x: Tensor) -> Tensor: ...
    def summarize(self, x: Tensor, responsibilities: Tensor) -> Tensor: ...


def log_prob_and_sums(family: ReadsRows, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Summarize]:
    """For rows with or without missing values, at the present parameters: log p(observed values | z = k) in nats,
    differentiable, and a function from responsibilities (n, k) to sums of E[T(x) | observed values, z] (k, s)."""
    incomplete = x.isnan().any(1)
    if not incomplete.any():
        return family.log_prob(x), lambda r: family.summarize(x, r)
    family_with_missing: Any = family
    log_prob_incomplete, sums_incomplete = family_with_missing.visit_missing(x[incomplete])
    if incomplete.all():
        return log_prob_incomplete, sums_incomplete
    complete = ~incomplete
    order = torch.cat([complete.nonzero(), incomplete.nonzero()]).squeeze(1).argsort()
    log_prob = torch.cat([family.log_prob(x[complete]), log_prob_incomplete])[order]
    return log_prob, lambda r: sums_incomplete(r[incomplete]) + family.summarize(x[complete], r[complete])


def log_prob_of_rows(family: ReadsRows, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """log p(observed values | z = k) in nats, differentiable. Rows with missing values come in blocks, as all of them
    together might take much memory."""
    if not any_missing(x):
        return never_where_overflowed(family.log_prob(x), x)
    return torch.cat([log_prob_and_sums(family, part)[0] for part in x.split(family.block_rows)])


def observed_log_prob(component: Any, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """log p(observed values | z = k) under independent columns, `Distribution.to_event(1)` of batch shape (k, d)."""
    column = component.base_dist
    missing = x.isnan()
    # a legal value in place of a missing one: NaN would spoil the gradient of the values beside it
    if column.support.is_discrete:
        legal = getattr(column.support, "lower_bound", 0.0)  # torch has no common class of constraints with a bound
    else:
        legal = transform_to(column.support)(x.new_zeros(()))
    log_prob = column.log_prob(torch.where(missing.unsqueeze(-2), legal, x.unsqueeze(-2)))
    return torch.where(missing.unsqueeze(-2), 0.0, log_prob).sum(-1)
