"""The E-step over many rows: responsibilities, and what the M-step needs of them, block by block."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contract import Statistics
from ..families.family import Family
from ..kernels.parallel_rows import can_compile
from ..kernels.special_functions import LOG2_E
from ..kernels.visit import Summarize, Visit


def sum_blocks(
    family: Family,
    log_weights: Float[Tensor, "*copies k"],
    x: Float[Tensor, "n d"],
    weights: Float[Tensor, " n"] | None,
    labels: Int[Tensor, " n"] | None,
    dtype: torch.dtype | None = None,
) -> Statistics:
    """The statistics of rows x (n, d) in the mixture of `family` with these log weights, at the parameters as they
    stand. Nothing of size (n, k) is kept. The bound is not finite if a row is impossible under every component, or
    holds what the family cannot give.

    Of a family of several `copies` with log weights (copies, k), the statistics of each by itself, side by side: weight
    (copies * k,), total (copies * k, s), bound (copies,).

    dtype: what to compute in, where the family can; sums are in float64 all the same.
    """
    return _sum(family, family.visit() if dtype is None else family.visit_in(dtype), log_weights, x, weights, labels)


def _sum(
    family: Family,
    visit: Visit,
    log_weights: Float[Tensor, "*copies k"],
    x: Float[Tensor, "n d"],
    weights: Float[Tensor, " n"] | None,
    labels: Int[Tensor, " n"] | None,
) -> Statistics:
    if visit.compiled is not None and can_compile(x):
        found = Statistics(*visit.compiled().sum(x, log_weights, weights, labels), _weight(x, weights))
        if found.bound.isfinite().all():
            return found
    gone = x.isnan().any(1) if family.takes_missing and x.sum().isnan() else x.new_zeros(0, dtype=torch.bool)
    if not gone.any():
        return _by_blocks(family, visit, log_weights, x, weights, labels)
    if math.isnan(family.nan_if_unsupported(x[gone])):  # a group of columns may take none
        nothing, bound = family.summarize(x[:0], x.new_zeros(0, log_weights.numel())), torch.nan * log_weights.sum(-1)
        return Statistics(torch.nan * log_weights.flatten(), nothing, bound, _weight(x, weights))

    def some(rows: Tensor) -> tuple[Any, Any, Any]:
        return x[rows], None if weights is None else weights[rows], None if labels is None else labels[rows]

    def visit_missing(x: Tensor) -> tuple[Tensor, Summarize]:
        log_prob, summarize = family.visit_missing(x)
        return log_prob.detach(), summarize

    torn = _by_blocks(family, Visit(visit_missing), log_weights, *some(gone))
    return torn if gone.all() else torn + _sum(family, visit, log_weights, *some(~gone))


def _weight(x: Tensor, weights: Tensor | None) -> Tensor:
    return x.new_tensor(len(x)) if weights is None else weights.sum()


def _by_blocks(
    family: Family,
    visit: Visit,
    log_weights: Float[Tensor, "*copies k"],
    x: Float[Tensor, "n d"],
    weights: Float[Tensor, " n"] | None,
    labels: Int[Tensor, " n"] | None,
) -> Statistics:
    """By torch, block by block."""
    if not len(x):
        weight = x.new_zeros(log_weights.numel())
        total = family.summarize(x, x.new_zeros(0, len(weight)))
        return Statistics(weight, total, x.new_zeros(log_weights.shape[:-1]), _weight(x, weights))
    # blocks stay in a processor's cache; to a GPU each is a handful of calls, which a whole chunk costs as well
    size = max(1, family.block_rows // family.copies) if x.is_cpu else len(x)
    weight: Any = 0.0
    bound: Any = 0.0
    total: Any = 0.0
    for start in range(0, len(x), size):
        block = slice(start, start + size)
        log_prob, summarize = visit.block(x[block])  # (n, k)
        joint = log_prob.T.unflatten(0, log_weights.shape)  # (*copies, k, n): reductions over k run along memory
        joint = joint + log_weights.unsqueeze(-1)  # not in place: it may be the family's own memory
        if labels is not None:
            joint += allowed(labels[block], log_weights.shape[-1]).T
        peak = joint.amax(-2).clamp_(min=1e-8 * torch.finfo(joint.dtype).min)
        # 2^(log2(e) (joint - peak)): powers of 2 take torch a third of the time of powers of e
        share = torch.add((-LOG2_E * peak).unsqueeze(-2), joint, alpha=LOG2_E, out=joint).exp2_()
        mass = share.sum(-2)
        evidence = mass.log().add_(peak)
        part = mass.reciprocal_()
        if weights is not None:
            part *= weights[block]
            evidence *= weights[block]
        share *= part.unsqueeze(-2)
        share = share.flatten(0, -2)  # (members, n)
        weight = weight + share.sum(1, dtype=x.dtype)
        bound = bound + evidence.sum(-1, dtype=x.dtype)
        total = total + summarize(share.T)
    return Statistics(weight, visit.collect(total), bound, _weight(x, weights))


def allowed(labels: Int[Tensor, " n"], k: int) -> Float[Tensor, "n k"]:
    """0 where z = k agrees with the label or there is none (-1), else -inf."""
    agrees = (labels < 0).unsqueeze(-1) | (labels.unsqueeze(-1) == torch.arange(k, device=labels.device))
    return torch.where(agrees, 0.0, -torch.inf).to(torch.float64)
