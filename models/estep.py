"""The E-step over many rows: responsibilities, and what the M-step needs of them, block by block."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .base import Statistics
from .family import Family, Summarize, Visit

LOG2_E = 1 / math.log(2)  # powers of 2 take torch a third of the time of powers of e


def sum_blocks(
    family: Family,
    log_weights: Float[Tensor, "*copies k"],
    x: Float[Tensor, "n d"],
    weights: Float[Tensor, " n"] | None,
    labels: Int[Tensor, " n"] | None,
    dtype: torch.dtype | None = None,
    gaps: bool = True,
) -> Statistics:
    """The statistics of rows x (n, d) in the mixture of `family` with these log weights, at the parameters as they
    stand. Nothing of size (n, k) is kept. The bound is not finite if a row is impossible under every component, or
    holds what the family cannot give.

    Of a family of several `copies` with log weights (copies, k), the statistics of each by itself, side by side: weight
    (copies * k,), total (copies * k, s), bound (copies,).

    dtype: what to compute in, where the family can; sums are in float64 all the same. gaps: False where it is known
    that no cell is missing.
    """
    whole = family.visit if dtype is None else partial(family.visit_in, dtype)
    if not (gaps and family.takes_missing and x.sum().isnan()):
        return _sum(family, whole(), log_weights, x, weights, labels, dtype)
    gone = x.isnan().any(1)

    def some(rows: Tensor, visit: Visit) -> Statistics:
        w, z = (None if part is None else part[rows] for part in (weights, labels))
        return _sum(family, visit, log_weights, x[rows], w, z)

    def visit_missing(x: Tensor) -> tuple[Tensor, Summarize]:
        log_prob, summarize = family.visit_missing(x)
        return log_prob.detach() + family.doubt(x), summarize

    torn = some(gone, Visit(visit_missing))
    return torn if gone.all() else torn + some(~gone, whole())


def _sum(
    family: Family,
    visit: Visit,
    log_weights: Float[Tensor, "*copies k"],
    x: Float[Tensor, "n d"],
    weights: Float[Tensor, " n"] | None,
    labels: Int[Tensor, " n"] | None,
    dtype: torch.dtype | None = None,
) -> Statistics:
    k = log_weights.shape[-1]
    # blocks stay in a processor's cache; to a GPU each is a handful of calls, which a whole chunk costs as well
    size = max(1, family.block_rows // family.copies) if x.is_cpu else max(1, len(x))

    constants = visit.constants
    if constants is not None:
        constants += log_weights.reshape(constants.shape)
    weight, bound, total = x.new_zeros(log_weights.numel()), x.new_zeros(log_weights.shape[:-1]), 0.0
    for start in range(0, len(x), size):
        block = slice(start, start + size)
        log_prob, summarize = visit.block(x[block])  # (n, k)
        joint = log_prob.T.unflatten(0, log_weights.shape)  # (*copies, k, n): reductions over k run along memory
        if constants is None:
            joint.add_(log_weights.unsqueeze(-1))
        if labels is not None:
            joint += allowed(labels[block], k).T
        peak = joint.amax(-2).clamp_(min=1e-8 * torch.finfo(joint.dtype).min)
        # 2^(log2(e) (joint - peak))
        share = torch.add((-LOG2_E * peak).unsqueeze(-2), joint, alpha=LOG2_E, out=joint).exp2_()
        mass = share.sum(-2)
        evidence = mass.log().add_(peak)
        part = mass.reciprocal_()
        if weights is not None:
            part *= weights[block]
            evidence *= weights[block]
        share *= part.unsqueeze(-2)
        share = share.flatten(0, -2)  # (members, n)
        if not visit.weighed:
            weight += share.sum(1, dtype=x.dtype)
        bound += evidence.sum(-1, dtype=x.dtype)
        total = total + summarize(share.T)
    total_weight = x.new_tensor(len(x)) if weights is None else weights.sum()
    if not len(x):
        return Statistics(weight, family.summarize(x, x.new_zeros(0, len(weight))), bound, total_weight)
    sums = torch.as_tensor(total)
    return Statistics(sums[:, 0] if visit.weighed else weight, visit.collect(sums), bound, total_weight)


def allowed(labels: Int[Tensor, " n"], k: int) -> Float[Tensor, "n k"]:
    """0 where z = k agrees with the label or there is none (-1), else -inf."""
    agrees = (labels < 0).unsqueeze(-1) | (labels.unsqueeze(-1) == torch.arange(k, device=labels.device))
    return torch.where(agrees, 0.0, -torch.inf).to(torch.float64)
