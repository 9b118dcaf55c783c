"""Expectation maximization: exact posteriors, summed statistics, closed-form parameters, in turn."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from ..models import Rows, Statistics, SupportsEM
from .stopping import FALL, GAIN, ROUNDED, WRONG, gain_left

SHORTEST = 1e-6  # the fraction of a step below which it is not tried any shorter
Evaluate = Callable[[], tuple[Statistics, Tensor]]


@dataclass(frozen=True)
class EM:
    """Expectation maximization (Dempster, Laird & Rubin 1977). Where a model's M-step is a step uphill instead of the
    maximum (`generalized`), it is shortened until the bound does not fall.

    tol: stop when the bound has less than this left to gain, in nats per row, judged from its last gains (Aitken's
    extrapolation); 0.0 runs all passes. The bound is flat at its top, so that parameters are known to about the square
    root of tol, in units of the data.
    """

    tol: float = 1e-9

    def __post_init__(self):
        if not self.tol >= 0:
            raise ValueError(f"tol is {self.tol!r}, expected nats per row of at least 0")

    def passes(self, model: SupportsEM, rows: Rows, max_passes: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the bound, nats per row, of the model as it stands, then improve it in place; and so on."""
        if not isinstance(model, SupportsEM):
            raise TypeError(
                f"EM needs expect() and maximize(), which {type(model).__name__} does not have: fit it with SVI()"
            )

        def evaluate() -> tuple[Statistics, Tensor]:
            statistics = reduce(add, (model.expect(*chunk.arguments) for chunk in rows.chunks()))
            return statistics, (statistics.bound + model.global_term().detach()) / statistics.total_weight

        def climb() -> Iterator[Tensor]:
            statistics, bound = evaluate()
            gain = torch.inf
            while True:
                yield bound
                if model.generalized:
                    before = bound
                    statistics, bound = _step(model, statistics, bound, gain, evaluate)
                    gain = float(bound - before)
                else:
                    model.maximize(statistics)
                    statistics, bound = evaluate()

        return climb()

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """The reason to stop after these bounds, or None. Raises ArithmeticError if the bound has fallen."""
        if len(bounds) < 2:
            return None
        gain = bounds[-1] - bounds[-2]
        if gain < -WRONG * (1 + abs(bounds[-1])):
            raise ArithmeticError(
                f"the bound fell by {-gain:.3g} nats per row in pass {len(bounds)}, expected EM never to lower it: "
                "maximize() does not maximize the expected log-likelihood"
            )
        if self.tol > 0 and len(bounds) > 2 and (left := gain_left(bounds[-3:])) < self.tol:
            return GAIN.format(tol=self.tol) if left > 0 else ROUNDED
        return None


def _step(
    model: Any, statistics: Statistics, bound: Tensor, gain: float, evaluate: Evaluate
) -> tuple[Statistics, Tensor]:
    """One step of a generalized M-step, halved until the bound does not fall, as it leads uphill.

    A step that gains less than half of what the last one did may have gone beyond the top and down again on its other
    side: then half of it is tried, too, and the better one stands.
    """
    start = copy.deepcopy(model.state_dict())
    best, length = None, 1.0
    while length > SHORTEST:
        try:
            model.maximize(statistics, length)
            ahead, higher = evaluate()
        except (ArithmeticError, ValueError):  # so far off that a parameter or row has become impossible
            ahead, higher = statistics, bound - torch.inf
        if best is not None and not higher > best[1]:
            model.load_state_dict(best[2])
            return best[:2]
        rises = bool(higher >= bound - FALL * (1 + bound.abs()))
        if best is not None or (rises and float(higher - bound) > gain / 2):
            return ahead, higher
        if rises:
            best = ahead, higher, copy.deepcopy(model.state_dict())
        model.load_state_dict(start)
        length /= 2
    return statistics, bound  # no step is uphill to rounding: this is the top
