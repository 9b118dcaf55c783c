"""What must hold for a model that EM fits: statistics that add up, and an M-step that never lowers the bound."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ...data.rows import Rows
from ..contract import Statistics
from .nearly_equal import Same, difference

PASSES = 5
FALL = 1e-9  # relative: how far rounding may lower a bound


def check_em(name: str, model: Any, x: Tensor, same: Same) -> None:
    """`expect` sums what `bound` says, and `maximize` raises it. Raises ValueError at the first thing that fails."""
    _check_sums(name, model, x, same)
    _check_passes(name, copy.deepcopy(model), x)


def _check_sums(name: str, model: Any, x: Tensor, same: Same) -> None:
    n, half = len(x), len(x) // 2
    whole = model.expect(x)
    if not isinstance(whole, Statistics):
        raise ValueError(f"{name}: expect(x) is a {type(whole).__name__}, expected Statistics")
    total = model.bound(x).double().sum()
    if not same(whole.bound.double(), total):
        raise ValueError(
            f"{name}: expect(x).bound differs from the sum of bound(x) by {difference(whole.bound, total)} nats, "
            "expected the same"
        )
    parts = model.expect(x[:half]) + model.expect(x[half:])
    ones = torch.ones(n, dtype=torch.float64)
    twice, once = model.expect(x, 2 * ones), model.expect(x, ones)
    for what, sums, factor in (("of two halves", parts, 1), ("with weights of 1", once, 1), ("with 2", twice, 2)):
        for field in ("weight", "total", "bound", "total_weight"):
            if not same(vars(sums)[field].double(), factor * vars(whole)[field].double()):
                raise ValueError(
                    f"{name}: {field} of expect(x) {what} differs from {factor} times that of all rows, expected sums "
                    "over rows of row weight times what belongs to the row"
                )


def _check_passes(name: str, model: Any, x: Tensor) -> None:
    statistics = model.expect(x)
    value = _objective(model, statistics)
    for number in range(1, PASSES + 1):
        before, length = copy.deepcopy(model), 1.0  # a model need not be a module with a state_dict()
        while True:
            if length == 1:
                model.maximize(statistics)
            else:
                model.maximize(statistics, length)
            after = model.expect(x)
            higher = _objective(model, after)
            if higher >= value - FALL * (1 + abs(value)) or not model.generalized or length < 1e-6:
                break
            model = copy.deepcopy(before)
            length /= 2
        if not higher >= value - FALL * (1 + abs(value)):
            raise ValueError(
                f"{name}: maximize() lowers the bound from {value:.9g} to {higher:.9g} nats in pass {number}, expected "
                "EM never to lower it: it does not maximize the expected complete log-likelihood plus log prior"
            )
        statistics, value = after, higher


def check_expected_log_joint(name: str, model: Any, x: Tensor, same: Same) -> None:
    """Where the statistics were taken, the gradient of `expected_log_joint` is that of the bound (Fisher)."""
    moved = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not moved:
        return
    wanted = torch.autograd.grad(model.objective(x).sum(), moved, allow_unused=True)
    found = torch.autograd.grad(model.expected_log_joint(model.expect(x)), moved, allow_unused=True)
    for a, b, parameter in zip(found, wanted, moved, strict=True):
        a, b = (torch.zeros_like(parameter) if slope is None else slope for slope in (a, b))
        able = torch.isfinite(parameter)
        if not same(a[able], b[able]):
            raise ValueError(
                f"{name}: the gradient of expected_log_joint(expect(x)) differs from that of objective(x) by up to "
                f"{difference(a[able], b[able])}, expected the same: Fisher's identity"
            )


def check_passes_ahead(name: str, model: Any, x: Tensor, same: Same) -> None:
    """Passes made ahead are those of `expect` and `maximize`."""
    twin, plain = copy.deepcopy(model), copy.deepcopy(model)
    ahead = twin.passes_ahead(Rows(x))
    for number in range(2):
        bound = None if ahead is None else ahead.advance()
        if bound is None:
            return
        statistics = plain.expect(x)
        wanted = (statistics.bound + plain.global_term().detach()) / statistics.total_weight
        if not same(bound, wanted) or not same(twin.bound(x), plain.bound(x)):
            raise ValueError(
                f"{name}: pass {number} of passes_ahead(rows) has the bound {float(bound):.9g} nats per row, expected "
                f"{float(wanted):.9g}, that of expect() and maximize()"
            )
        plain.maximize(statistics)


def _objective(model: Any, statistics: Statistics) -> float:
    return float(statistics.bound) + float(model.global_term().detach())
