"""The E-step and M-step of a family: sums add up, and M-steps climb to where the gradient is zero."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ..families.family import Family
from ..families.missing_values import log_prob_and_sums
from ..kernels.parallel_rows import can_compile
from ..module import restore_frozen
from .nearly_equal import CLOSE, same

DIFFERS = "differs from log_prob and summarize, expected the same numbers, or sums that lead to the same M-step"
FLAT = 1e-6  # nats per row: the steepest slope that counts as none after an exact M-step
NEARLY_FLAT = 1e-2  # and after many small steps, or at a kink
STEPS = 200  # how many M-steps


def check_sums(name: str, family: Family, x: Tensor, r: Tensor) -> None:
    """Statistics add up over rows. `visit` and its compiled pass give what `log_prob` and `summarize` give."""
    total, half = family.summarize(x, r), len(x) // 2
    parts = family.summarize(x[:half], r[:half]) + family.summarize(x[half:], r[half:])
    if not same(total, parts):
        raise ValueError(f"{name}: summarize(x) is not the sum over two halves of x, expected statistics that add up")
    visit, log_prob = family.visit(), family.log_prob(x)
    visited, summarize = visit.block(x)
    if not (same(visited, log_prob) and lead_to_same_m_step(family, x, r, visit.collect(summarize(r)))):
        raise ValueError(f"{name}: visit() {DIFFERS}")
    if visit.compiled is not None and can_compile(x):
        weight, sums, bound = visit.compiled().sum(x, x.new_zeros(log_prob.shape[1]), None, None)
        share = log_prob.softmax(-1)
        right = same(bound, log_prob.logsumexp(-1).sum()) and same(weight, share.sum(0))
        if not (right and lead_to_same_m_step(family, x, share, sums)):
            raise ValueError(f"{name}: the compiled pass of visit() {DIFFERS}")


def lead_to_same_m_step(family: Family, x: Tensor, r: Tensor, sums: Tensor) -> bool:
    """Whether these sums are those of `summarize`, or at least lead to the same M-step."""
    total = family.summarize(x, r)
    weight = r.sum(0)
    return same(sums, total) or same(_maximized(family, weight, sums), _maximized(family, weight, total))


def _maximized(family: Family, weight: Tensor, total: Tensor) -> Tensor:
    """The parameters after an M-step from these sums."""
    family = copy.deepcopy(family)
    with restore_frozen(family):
        family.maximize(weight, total)
    return torch.cat([parameter.detach().flatten() for parameter in family.parameters()])


def check_maximize(name: str, family: Family, x: Tensor, r: Tensor, which: str = "") -> None:
    """From parameters that are not the best for r, M-steps never go down and end where the gradient is zero."""
    weight = r.sum(0)
    if not x.isnan().any():
        with restore_frozen(family):
            family.start(x, r.flip(1))
    value, total = _expected(family, x, r), log_prob_and_sums(family, x)[1](r)
    for _ in range(STEPS):
        before, length = copy.deepcopy(family.state_dict()), 1.0
        total = log_prob_and_sums(family, x)[1](r)
        while True:
            with restore_frozen(family):
                family.maximize(weight, total) if length == 1 else family.maximize(weight, total, length)
            after = _expected(family, x, r)
            if after >= value - 1e-13 * (1 + abs(value)) or not family.generalized or length < 1e-6:
                break
            family.load_state_dict(before)
            length /= 2
        if not after >= value - CLOSE * (1 + abs(value)):
            raise ValueError(
                f"{name}: maximize() lowers the expected log-likelihood {which}from {value:.6g} to {after:.6g} nats: "
                "match() does not set the parameters with E[T(x)] = mean"
                + (", or expected_statistics() is not E[T(x)]" if which else "")
            )
        gain, value = after - value, after
        if gain <= 1e-14 * (1 + abs(value)):
            break
    at_once = not family.generalized and torch.equal(total, log_prob_and_sums(family, x)[1](r))
    _check_slopes(name, family, x, r, FLAT if at_once else NEARLY_FLAT)


def _check_slopes(name: str, family: Family, x: Tensor, r: Tensor, flat: float) -> None:
    parameters = {
        label: parameter for label, parameter in family._parameters_by_path().items() if parameter.requires_grad
    }
    if not parameters:
        return
    with torch.enable_grad():
        slopes = torch.autograd.grad(_objective(family, x, r), list(parameters.values()), allow_unused=True)
    for (label, parameter), slope in zip(parameters.items(), slopes, strict=True):
        if slope is None:
            continue
        steepest = float(torch.where(parameter.isinf(), 0.0, slope).abs().max() / r.sum())
        if not steepest <= flat:
            raise ValueError(
                f"{name}: where maximize() ends, {label} still has a slope of "
                f"{steepest:.2g} nats per row, expected at most {flat:g}: match() does not maximize the expected "
                "log-likelihood"
            )


def _objective(family: Family, x: Tensor, r: Tensor) -> Tensor:
    """Expected log-likelihood plus log prior."""
    return torch.where(r > 0, r * log_prob_and_sums(family, x)[0], 0.0).sum() + family.log_prior()


def _expected(family: Family, x: Tensor, r: Tensor) -> float:
    return float(_objective(family, x, r))
