"""The E-step over many rows: the sums of responsibilities that the M-step needs, block by block."""

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
    """The statistics of rows x in the mixture of `family` with these weights. Nothing of size (n, k) is kept.

    The bound is not finite if a row has probability zero under every component, or a value that the family does not
    support.

    Args:
        family: The components, at their present parameters. It may hold several copies side by side.
        log_weights: (k,) log weights of the mixture; (copies, k) for a family of several copies.
        x: (n, d) rows, with NaN where a value is missing.
        weights: (n,) row weights, or None for ones.
        labels: (n,) known components, -1 where unknown, or None.
        dtype: The precision to compute in, if the family can; sums are in float64 in any case.

    Returns:
        `Statistics`. For several copies, those of each copy side by side: weight (copies * k,), total (copies * k, s),
        bound (copies,).
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
    incomplete = x.isnan().any(1) if family.takes_missing and x.sum().isnan() else x.new_zeros(0, dtype=torch.bool)
    if not incomplete.any():
        return _by_blocks(family, visit, log_weights, x, weights, labels)
    if math.isnan(family.nan_if_unsupported(x[incomplete])):  # a group of columns may not take missing values
        empty, bound = family.summarize(x[:0], x.new_zeros(0, log_weights.numel())), torch.nan * log_weights.sum(-1)
        return Statistics(torch.nan * log_weights.flatten(), empty, bound, _weight(x, weights))

    def part_of(rows: Tensor) -> tuple[Any, Any, Any]:
        return x[rows], None if weights is None else weights[rows], None if labels is None else labels[rows]

    def visit_missing(x: Tensor) -> tuple[Tensor, Summarize]:
        log_prob, summarize = family.visit_missing(x)
        return log_prob.detach(), summarize

    found = _by_blocks(family, Visit(visit_missing), log_weights, *part_of(incomplete))
    return found if incomplete.all() else found + _sum(family, visit, log_weights, *part_of(~incomplete))


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
    """The statistics computed by torch, one block of rows at a time."""
    if not len(x):
        weight = x.new_zeros(log_weights.numel())
        total = family.summarize(x, x.new_zeros(0, len(weight)))
        return Statistics(weight, total, x.new_zeros(log_weights.shape[:-1]), _weight(x, weights))
    # on a CPU a block stays in the cache; on a GPU the calls cost the same for a block as for all rows
    size = max(1, family.block_rows // family.copies) if x.is_cpu else len(x)
    weight: Any = 0.0
    bound: Any = 0.0
    total: Any = 0.0
    for start in range(0, len(x), size):
        block = slice(start, start + size)
        log_prob, summarize = visit.block(x[block])  # (n, k)
        joint = log_prob.T.unflatten(0, log_weights.shape)  # (*copies, k, n): reductions over k run along memory
        joint = joint + log_weights.unsqueeze(-1)  # not in place: log_prob may be memory that the family keeps
        if labels is not None:
            joint += label_log_mask(labels[block], log_weights.shape[-1]).T
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
        share = share.flatten(0, -2)  # (copies * k, n)
        weight = weight + share.sum(1, dtype=x.dtype)
        bound = bound + evidence.sum(-1, dtype=x.dtype)
        total = total + summarize(share.T)
    return Statistics(weight, visit.collect(total), bound, _weight(x, weights))


def label_log_mask(labels: Int[Tensor, " n"], k: int) -> Float[Tensor, "n k"]:
    """What to add to log p(x, z): 0 where z = k agrees with the label or there is none (-1), else -inf."""
    agrees = (labels < 0).unsqueeze(-1) | (labels.unsqueeze(-1) == torch.arange(k, device=labels.device))
    return torch.where(agrees, 0.0, -torch.inf).to(torch.float64)
