"""The passes of EM over one data set, as steps that can be stored between two of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ...models import Rows, Statistics, SupportsEM
from .convergence import ROUNDING_FALL
from .data_bound import expectation

SLOW = 1e-5  # the gain, relative to 1 + |bound|, below which float32 would hide too much of it


SHORTEST = 1e-6  # the fraction of a step below which it is not tried any shorter


Evaluate = Callable[[], tuple[Statistics, Tensor]]


class EMSteps:
    """The passes of EM over one data set: what `EM.passes` returns."""

    def __init__(self, model: SupportsEM, rows: Rows, dtype: torch.dtype | None = None):
        self.model, self.rows = model, rows
        self.last: tuple[Statistics, Tensor] | None = None  # at the parameters as they stand, and their bound
        self.gain = torch.inf  # of the last step, in nats per row
        self.fast = None if model.generalized else dtype

    def __iter__(self) -> EMSteps:
        return self

    @property
    def statistics(self) -> Statistics | None:
        """Those of all rows at the parameters as they stand; None where they are in single precision."""
        return None if self.last is None or self.fast else self.last[0]

    def __next__(self) -> Tensor:
        if self.last is None:
            self.last = expectation(self.model, self.rows, self.fast)
        elif self.model.generalized:
            _, before = self.last
            self.last = _step(self.model, *self.last, self.gain, lambda: expectation(self.model, self.rows))
            self.gain = float(self.last[1] - before)
        else:
            statistics, before = self.last
            self.model.maximize(statistics)
            self.last = expectation(self.model, self.rows, self.fast)
            if self.fast and not self.last[1] - before > SLOW * (1 + before.abs()):
                self.fast = None
                self.last = expectation(self.model, self.rows)
        return self.last[1]

    def state_dict(self) -> dict[str, Tensor]:
        """The last statistics, their bound and the last gain: what the next M-step reads."""
        if self.last is None:
            return {}
        statistics, bound = self.last
        sums = {f"statistics.{field.name}": getattr(statistics, field.name) for field in fields(statistics)}
        gain, fast = torch.tensor(self.gain, dtype=torch.float64), torch.tensor(self.fast is not None)
        return {"bound": bound, "gain": gain, "fast": fast, **sums}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there, with a model that is as it was there. Statistics are put back, not summed anew: a table
        that draws its rows would give others."""
        if not state:
            return
        x, weights, labels = next(self.rows.chunks()).arguments
        first = (None if part is None else part[:1] for part in (weights, labels))
        own = self.model.expect(x[:1], *first)  # of what kind the model's statistics are, and where it keeps them
        sums = {field.name: state[f"statistics.{field.name}"].to(getattr(own, field.name)) for field in fields(own)}
        self.last = replace(own, **sums), state["bound"].to(own.bound)
        self.gain = float(state["gain"])
        self.fast = self.fast if state["fast"] else None


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
        rises = bool(higher >= bound - ROUNDING_FALL * (1 + bound.abs()))
        if best is not None or (rises and float(higher - bound) > gain / 2):
            return ahead, higher
        if rises:
            best = ahead, higher, copy.deepcopy(model.state_dict())
        model.load_state_dict(start)
        length /= 2
    return statistics, bound  # no step is uphill to rounding: this is the top
