"""The passes of EM over one table, as an iterator whose state a checkpoint can store."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ...models import Rows, Statistics, SupportsEM
from ...models.contract import lacking
from .contract import require_shape
from .convergence import ROUNDING_FALL
from .data_bound import expectation

SMALL_GAIN = 1e-5  # relative to 1 + |bound|: below this gain the rounding of float32 hides too much of it
SHORTEST_STEP = 1e-6  # the fraction of a step that is still tried


def require_em(model: Any, engine: str) -> None:
    """Raise TypeError, naming what is missing, if a model has no E-step or M-step."""
    if isinstance(model, SupportsEM):
        return
    name, lacks = type(model).__name__, lacking(model, SupportsEM)
    if {"expect", "maximize"} <= {*lacks}:
        raise TypeError(f"{engine} needs expect() and maximize(), which {name} does not have: fit it with SVI()")
    renamed = " (carry is now called remeasure)" if "remeasure" in lacks and "carry" in dir(model) else ""
    raise TypeError(
        f"{engine} needs the members of SupportsEM, and {name} lacks {', '.join(lacks)}{renamed}: write them, or "
        "fit it with SVI()"
    )


Evaluate = Callable[[], tuple[Statistics, Tensor]]


class EMSteps:
    """The passes of EM over one table: what `EM.passes` returns."""

    def __init__(self, model: SupportsEM, rows: Rows, dtype: torch.dtype | None = None):
        self.model, self.rows = model, rows
        self.last: tuple[Statistics, Tensor] | None = None  # at the current parameters, and their bound
        self.gain = torch.inf  # nats per row, of the last step
        self.fast = None if model.generalized else dtype  # the precision of the fast passes; None when they are over

    def __iter__(self) -> EMSteps:
        return self

    @property
    def statistics(self) -> Statistics | None:
        """Those of all rows at the current parameters; None if they are in single precision."""
        return None if self.last is None or self.fast else self.last[0]

    def __next__(self) -> Tensor:
        if self.last is None:
            self.last = expectation(self.model, self.rows, self.fast)
        elif self.model.generalized:
            _, before = self.last
            self.last = _uphill_step(self.model, *self.last, self.gain, lambda: expectation(self.model, self.rows))
            self.gain = float(self.last[1] - before)
        else:
            statistics, before = self.last
            self.model.maximize(statistics)
            self.last = expectation(self.model, self.rows, self.fast)
            if self.fast and not self.last[1] - before > SMALL_GAIN * (1 + before.abs()):
                self.fast = None
                self.last = expectation(self.model, self.rows)
        return self.last[1]

    def state_dict(self) -> dict[str, Tensor]:
        """The last statistics, their bound and the last gain: what the next pass reads."""
        if self.last is None:
            return {}
        statistics, bound = self.last
        sums = {f"statistics.{field.name}": vars(statistics)[field.name] for field in fields(statistics)}
        gain, fast = torch.tensor(self.gain, dtype=torch.float64), torch.tensor(self.fast is not None)
        return {"bound": bound, "gain": gain, "fast": fast, **sums}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore that state, for a model whose own state is restored.

        The statistics are restored, not summed again: a table that draws its rows would give other ones.
        """
        if not state:
            return
        statistics = restored_statistics(self.model, self.rows, state, "statistics.")
        self.last = statistics, state["bound"].to(statistics.bound).reshape(())
        self.gain = float(state["gain"])
        self.fast = self.fast if state["fast"] else None


def restored_statistics(model: SupportsEM, rows: Rows, state: dict[str, Tensor], prefix: str) -> Statistics:
    """The statistics in a stored state, by their names with a prefix. Raises ValueError for those of another model."""
    x, weights, labels = next(rows.chunks()).arguments
    first = (None if part is None else part[:1] for part in (weights, labels))
    own = model.expect(x[:1], *first)  # an example of the class, type, shapes and device
    sums = {name: state[f"{prefix}{name}"].to(like) for name, like in vars(own).items()}
    for field in fields(Statistics):  # what a model adds to them may have a number for each chunk
        require_shape(sums[field.name], vars(own)[field.name], field.name)
    return replace(own, **sums)


def _uphill_step(
    model: Any, statistics: Statistics, bound: Tensor, gain: float, evaluate: Evaluate
) -> tuple[Statistics, Tensor]:
    """One generalized M-step, halved until the bound does not fall.

    A step that gains less than half of the last gain may have passed the maximum. Then half of it is tried, too, and
    the better one is kept.
    """
    start = copy.deepcopy(model.state_dict())
    best, length = None, 1.0
    while length > SHORTEST_STEP:
        try:
            model.maximize(statistics, length)
            ahead, higher = evaluate()
        except (ArithmeticError, ValueError):  # the step is so long that a parameter or row became impossible
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
    return statistics, bound  # no step raises the bound: this is the maximum, to rounding
