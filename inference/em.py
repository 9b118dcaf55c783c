"""Expectation maximization: exact posteriors, summed statistics, closed-form parameters, in turn."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..models import Rows, Statistics, SupportsEM
from .evaluate import expectation
from .squarem import SquaremSteps
from .stopping import FALL, GAIN, ROUNDED, WRONG, gain_left

LEAPS = 8  # passes by which an accelerated run is judged: some leaps, some that were not made, and steps between
SLOW = 1e-5  # the gain, relative to 1 + |bound|, below which float32 would hide too much of it
SHORTEST = 1e-6  # the fraction of a step below which it is not tried any shorter
Evaluate = Callable[[], tuple[Statistics, Tensor]]


@dataclass(frozen=True)
class EM:
    """Expectation maximization (Dempster, Laird & Rubin 1977). Where a model's M-step is a step uphill instead of the
    maximum (`generalized`), it is shortened until the bound does not fall.

    accelerate: None, or "squarem": after every few passes leap ahead along their path (`SquaremSteps`; Varadhan &
    Roland 2008), many times faster where EM creeps. A leap that would lower the bound is a pass that changes nothing.
    tol: stop when the bound has less than this left to gain, in nats per row, judged from its last gains (Aitken's
    extrapolation); 0.0 runs all passes. The bound is flat at its top, so that parameters are known to about the square
    root of tol, in units of the data.
    dtype: "float32" makes the passes of Gaussian mixtures in it, which pays with many columns only, until one gains
    less than 1e-5 (1 + |bound|) nats per row, and the others in float64: the result is float64's.
    """

    tol: float = 1e-9
    accelerate: Literal["squarem"] | None = None
    dtype: Literal["float64", "float32"] = "float64"

    def __post_init__(self):
        if self.dtype not in ("float64", "float32") or (self.accelerate and self.dtype == "float32"):
            raise ValueError(
                f"dtype is {self.dtype!r}, expected 'float64', or without acceleration 'float32' for the "
                "passes that gain much"
            )
        if self.accelerate not in (None, "squarem"):
            raise ValueError(f"accelerate is {self.accelerate!r}, expected None or 'squarem'")
        if not self.tol >= 0:
            raise ValueError(f"tol is {self.tol!r}, expected nats per row of at least 0")

    def passes(self, model: Any, rows: Rows, max_passes: int, generator: torch.Generator) -> EMSteps | SquaremSteps:
        """Yield the bound, nats per row, of the model as it stands, then improve it in place; and so on."""
        if not isinstance(model, SupportsEM):
            raise TypeError(
                f"EM needs expect() and maximize(), which {type(model).__name__} does not have: fit it with SVI()"
            )
        if self.dtype != "float64" and "dtype" not in inspect.signature(model.expect).parameters:
            raise TypeError(f"{type(model).__name__} computes in one precision, expected EM() without dtype")
        single = None if self.dtype == "float64" else torch.float32
        plain = EMSteps(model, rows.merged, single)  # rows that are alike have the same posterior
        return plain if self.accelerate is None else SquaremSteps(plain)

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """The reason to stop after these bounds, or None. Raises ArithmeticError if the bound has fallen."""
        if len(bounds) < 2:
            return None
        gain = bounds[-1] - bounds[-2]
        if gain < -WRONG * (1 + abs(bounds[-1])):
            raise ArithmeticError(
                f"the bound fell by {-gain:.3g} nats per row in pass {len(bounds)}, expected EM never to lower it: "
                "maximize() does not maximize the expected log-likelihood, or the table gives other rows at each "
                "reading, as Binarized does, which is for SVI"
            )
        stride = 1 if self.accelerate is None else LEAPS
        if (
            self.tol > 0
            and len(bounds) > 2 * stride
            and (left := gain_left(bounds[-1 - 2 * stride :: stride])) < self.tol
        ):
            return GAIN.format(tol=self.tol) if left > 0 else ROUNDED
        return None


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
        rises = bool(higher >= bound - FALL * (1 + bound.abs()))
        if best is not None or (rises and float(higher - bound) > gain / 2):
            return ahead, higher
        if rises:
            best = ahead, higher, copy.deepcopy(model.state_dict())
        model.load_state_dict(start)
        length /= 2
    return statistics, bound  # no step is uphill to rounding: this is the top
