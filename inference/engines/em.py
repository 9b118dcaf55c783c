"""Expectation maximization: exact posteriors, summed statistics, closed-form parameters, in turn."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ...models import Rows, SupportsEM
from .convergence import LITTLE_LEFT, ONLY_ROUNDING_LEFT, IMPOSSIBLE_FALL, gain_left
from .em_steps import EMSteps
from .squarem import SquaremSteps

LEAPS = 8  # passes by which an accelerated run is judged: some leaps, some that were not made, and steps between


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
        if gain < -IMPOSSIBLE_FALL * (1 + abs(bounds[-1])):
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
            return LITTLE_LEFT.format(tol=self.tol) if left > 0 else ONLY_ROUNDING_LEFT
        return None
