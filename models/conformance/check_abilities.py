"""The abilities that a family claims on its class line, each checked against what it promises."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from ...data.moments import Moments
from ..families.copies import own_tensors, repeat
from ..families.family import Family
from ..families.missing_values import log_prob_and_sums
from ..kernels.parallel_rows import can_compile
from ..module import restore_frozen
from .check_m_step import check_maximize, lead_to_same_m_step
from .nearly_equal import same

MISSING = 0.2  # the share of values that are missing in the check of TakesMissing
ROWS = 3  # rows whose evidence is compared in the check of Conjugate


def check_takes_missing(name: str, family: Family, x: Tensor, r: Tensor, generator: torch.Generator) -> None:
    """TakesMissing: a row without observed values has density 1, complete rows do not change beside incomplete ones,
    and M-steps raise the likelihood of the observed values."""
    missing = torch.rand(x.shape, generator=generator) < MISSING
    missing[0] = True
    refused = family.unsupported(x.masked_fill(missing, torch.nan))
    if refused is not None:  # a part of a Product may take no missing values
        missing &= ~refused
    x = x.masked_fill(missing, torch.nan)
    log_prob, summarize = log_prob_and_sums(family, x)
    if not torch.isfinite(log_prob).any(-1).all():
        raise ValueError(
            f"{name}: some rows with missing values have no finite log density, expected that of the observed values"
        )
    if missing[0].all() and not same(log_prob[:1], torch.zeros_like(log_prob[:1])):
        raise ValueError(
            f"{name}: a row without any observed value has log density {float(log_prob[0, 0].detach()):.3g}, expected "
            "0: marginal(x) is the density of the observed values alone"
        )
    complete = ~x.isnan().any(1)
    if not torch.isfinite(summarize(r)).all():
        raise ValueError(
            f"{name}: the sums of rows with missing values are not finite, expected those of E[T(x) | observed values]"
        )
    if complete.any() and not same(log_prob[complete], family.log_prob(x[complete])):
        raise ValueError(f"{name}: complete rows get another density beside rows with missing values")
    check_maximize(name, family, x, r, "of the observed values ")


def check_allows_frozen(name: str, family: Family, x: Tensor, r: Tensor) -> None:
    """AllowsFrozen: with any one parameter frozen, M-steps find the best of the others."""
    for path in family._parameters_by_path():
        held = copy.deepcopy(family)
        held.start(x, r.flip(1))  # another value than the best for r
        check_maximize(f"{name}, {path} frozen", held.freeze(path), x, r)


def check_side_by_side(name: str, family: Family, x: Tensor, r: Tensor) -> None:
    """SideBySide: two families in one tensor give the density, sums, M-step and log prior of each by itself."""
    wrong = f"{name}: two copies side by side (the ability SideBySide)"
    first, second = copy.deepcopy(family), copy.deepcopy(family)
    shares = r, (r.flip(1) + r.roll(1, 0)) / 2
    for single, share in zip((first, second), shares, strict=True):
        with restore_frozen(single):
            single.start(x, share)
    try:
        both = repeat(first, 2)
        for joined, one, other in zip(*map(own_tensors, (both, first, second)), strict=True):
            joined.data = torch.cat([tensor.data.reshape(-1, *joined.shape[1:]) for tensor in (one, other)])
        _compare_side_by_side(wrong, both, (first, second), x, shares)
    except (RuntimeError, IndexError, ValueError) as error:
        if str(error).startswith(wrong):
            raise
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{wrong} fail with {reason!r}, expected hooks that take the number of components from the parameters"
        ) from error


def _compare_side_by_side(
    wrong: str, both: Family, singles: tuple[Family, Family], x: Tensor, shares: tuple[Tensor, Tensor]
) -> None:
    log_prob = torch.cat([single.log_prob(x) for single in singles], -1)
    visit = both.visit()
    if not (same(both.log_prob(x), log_prob) and same(visit.block(x)[0], log_prob)):
        raise ValueError(f"{wrong} differ in log_prob() or visit(), expected those of two families")
    r = torch.cat(shares, -1)
    totals = [single.summarize(x, share) for single, share in zip(singles, shares, strict=True)]
    if not same(both.summarize(x, r), torch.cat(totals)):
        raise ValueError(f"{wrong} differ in summarize(), expected the sums of two families")
    if visit.compiled is not None and can_compile(x):
        joint = log_prob.unflatten(-1, (2, -1))
        _, sums, bound = visit.compiled().sum(x, x.new_zeros(joint.shape[1:]), None, None)
        share = joint.softmax(-1).flatten(1)
        if not (same(bound, joint.logsumexp(-1).sum(0)) and lead_to_same_m_step(both, x, share, sums)):
            raise ValueError(f"{wrong} differ in the compiled pass of visit(), expected the sums of two families")
    both.maximize(r.sum(0), torch.cat(totals))
    for single, share, total in zip(singles, shares, totals, strict=True):
        single.maximize(share.sum(0), total)
    if not same(both.log_prob(x), torch.cat([single.log_prob(x) for single in singles], -1)):
        raise ValueError(f"{wrong} differ after maximize(), expected the M-steps of two families")
    if not same(both.log_prior(), torch.stack([single.log_prior() for single in singles])):
        raise ValueError(f"{wrong} differ in log_prior(), expected one number for each: sum_per_copy() sums so")
    weights = torch.full((len(shares[0].T),), 1 / len(shares[0].T), dtype=x.dtype)
    if not torch.equal(both.collapsed(weights.repeat(2)), torch.cat([single.collapsed(weights) for single in singles])):
        raise ValueError(f"{wrong} differ in collapsed(), expected each component compared with those of its own copy")


def check_expected_log_prob(name: str, family: Family, x: Tensor, r: Tensor) -> None:
    """HasExpectedLogProb: its gradient in the parameters is that of the sum of r log_prob(x)."""
    family = copy.deepcopy(family)
    with restore_frozen(family):
        family.start(x, r.flip(1))  # where the gradient is not zero
    parameters = {
        label: parameter for label, parameter in family._parameters_by_path().items() if parameter.requires_grad
    }
    total = family.summarize(x, r).detach()
    with torch.enable_grad():
        expected = family.expected_log_prob(r.sum(0), total)
        if expected.shape != (family.components,):
            raise ValueError(
                f"{name}: expected_log_prob() has shape {tuple(expected.shape)}, expected ({family.components},), one "
                "number for each component"
            )
        right = torch.where(r > 0, r * family.log_prob(x), 0.0).sum()
        pairs = [
            torch.autograd.grad(value, list(parameters.values()), allow_unused=True, materialize_grads=True)
            for value in (expected.sum(), right)
        ]
    for label, ours, wanted in zip(parameters, *pairs, strict=True):
        finite = torch.isfinite(parameters[label])
        if not same(torch.where(finite, ours, 0.0), torch.where(finite, wanted, 0.0)):
            raise ValueError(
                f"{name}: the gradient of expected_log_prob() in {label} differs from that of the sum of "
                "r log_prob(x), expected the same (the ability HasExpectedLogProb)"
            )


def check_conjugate(name: str, family: Any, x: Tensor, r: Tensor, moments: Moments) -> None:
    """Conjugate: Bayes' rule holds for one more row, p(x) p(theta | x) = p(x | theta) p(theta) at any theta, and
    log p(x) = E[log p(x | theta)] - KL(p(theta | x) || p(theta)), where E is over p(theta | x)."""
    weak = family.weak_belief(moments)
    kinds = {label: type(belief) for label, belief in weak.items()}
    prior = {  # the posterior of x: one for each component, as after some passes
        # `vars` does not show the hyperparameters of all distributions of torch: some are properties
        label: {h: getattr(weak[label], h) + gained for h, gained in gain.items()}
        for label, gain in family.gain(r.sum(0), family.summarize(x, r)).items()
    }
    before = _beliefs(kinds, prior)
    theta = {label: belief.mean for label, belief in before.items()}
    for row in x[:ROWS].split(1):
        one = row.new_ones(1, family.components)
        gain = family.gain(one.sum(0), family.summarize(row, one))
        after = _beliefs(
            kinds, {label: {h: prior[label][h] + gained for h, gained in part.items()} for label, part in gain.items()}
        )
        evidence = family.predictive(before).log_prob(row.unsqueeze(-2)).squeeze(0)
        likelihood = family.at(theta).log_prob(row).squeeze(0)
        by_bayes = likelihood + sum(
            _per_component(before[label].log_prob(theta[label]) - after[label].log_prob(theta[label]))
            for label in theta
        )
        if not same(evidence, by_bayes):
            raise ValueError(
                f"{name}: predictive() gives a row {float(evidence[0]):.6g} nats, and Bayes' rule with gain() "
                f"{float(by_bayes[0]):.6g}, expected the same (the ability Conjugate)"
            )
        view, correction = family.expected(after)
        divergence = sum(_per_component(kl_divergence(after[label], before[label])) for label in theta)
        by_bound = view.log_prob(row).squeeze(0) + correction - divergence
        if not same(evidence, by_bound):
            raise ValueError(
                f"{name}: expected() makes the log evidence of a row {float(by_bound[0]):.6g} nats, and predictive() "
                f"{float(evidence[0]):.6g}, expected the same (the ability Conjugate)"
            )


def _beliefs(kinds: dict[str, Any], hyperparameters: dict[str, dict[str, Tensor]]) -> dict[str, Any]:
    return {label: kinds[label](**hypers, validate_args=False) for label, hypers in hyperparameters.items()}


def _per_component(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1) if values.ndim > 1 else values
