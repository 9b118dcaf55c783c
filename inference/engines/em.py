"""EM: expectation maximization, an E-step and an M-step in turn."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ...models import Rows
from ...models.abilities import MakesPassesAhead, PassesAhead
from .convergence import (
    IMPOSSIBLE_FALL,
    LITTLE_GAINED,
    LITTLE_LEFT,
    ONLY_ROUNDING_LEFT,
    creeps,
    gain_left,
    is_rounding,
)
from .em_ahead import AheadSteps
from .em_steps import EMSteps, require_em
from .squarem import POINTS, SquaremSteps

# passes between the bounds that judge an accelerated run: extrapolations, rejected ones and EM steps alternate
STRIDE = 8
SAFETY = 4  # the slowest rate is seen late: that of the passes before a run was accelerated may be too fast


@dataclass(frozen=True)
class EM:
    """Expectation maximization: q(z | x) <- p(z | x, theta), then theta <- argmax E_q[log p(x, z | theta)].

    The E-step sums the expected statistics of all rows; the M-step finds the parameters that maximize the expected log
    joint density (plus the log prior). The bound never falls. Where a model's M-step is a step uphill instead of the
    maximum (`model.generalized`), the step is halved until the bound does not fall. The model must have `expect` and
    `maximize` (`SupportsEM`): mixtures, k-means, PPCA and Bayesian mixtures do; a VAE does not.

    Args:
        tol: Stop when the bound has less than this left to gain, in nats per row, estimated from its last gains
            (Aitken's extrapolation). A run of two passes, which has one gain, has converged if that is less. 0.0 runs
            all passes; the reason then says whether they have converged. The bound is flat at its maximum, so the
            parameters are known to about the square root of tol, in units of the data.
        accelerate: None makes plain passes. "squarem" extrapolates along the path of EM after every few passes
            (Varadhan & Roland 2008), many times faster where EM is slow. An extrapolation that would lower the bound is
            rejected: that pass changes nothing. "auto" does so from when the gains of plain passes say that the run is
            near its optimum and has many passes left; a run that is quick stays plain, and so do k-means, tables that
            draw their rows, and dtype="float32".
        dtype: "float32" computes the first passes of a Gaussian mixture in single precision, which is faster with many
            columns, until a pass gains less than 1e-5 (1 + |bound|) nats per row. The other passes are in float64, and
            so is the result.

    Raises:
        ValueError: A setting is out of its range.

    Example:
        >>> import torch
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import GaussianMixture
        >>> x = torch.tensor([[0.0], [0.2], [0.7], [1.1], [4.0], [4.3], [4.4], [5.0]])
        >>> fitted = fit(GaussianMixture(2, 1), x, EM(tol=1e-6))
        >>> round(float(fitted.bounds[-1]), 4), fitted.reason
        (-1.1838, 'converged: no more than rounding left to gain')

    References:
        Dempster, Laird & Rubin, Maximum likelihood from incomplete data via the EM algorithm, Journal of the Royal
        Statistical Society B 39 (1977), 1-38.
    """

    tol: float = 1e-9
    accelerate: Literal["auto", "squarem"] | None = None
    dtype: Literal["float64", "float32"] = "float64"

    def __post_init__(self):
        if self.dtype not in ("float64", "float32") or (self.accelerate == "squarem" and self.dtype == "float32"):
            raise ValueError(
                f"dtype is {self.dtype!r}, expected 'float64', or without acceleration 'float32' for the first passes"
            )
        if self.accelerate not in (None, "auto", "squarem"):
            raise ValueError(f"accelerate is {self.accelerate!r}, expected 'auto', None or 'squarem'")
        if not self.tol >= 0:
            raise ValueError(f"tol is {self.tol!r}, expected nats per row of at least 0")

    def passes(self, model: Any, rows: Rows, max_passes: int, generator: torch.Generator) -> EMSteps | SquaremSteps:
        """The passes of EM over these rows, as `Engine.passes` describes them."""
        require_em(model, "EM")
        if self.dtype != "float64" and "dtype" not in inspect.signature(model.expect).parameters:
            raise TypeError(f"{type(model).__name__} computes in one precision, expected EM() without dtype")
        single = None if self.dtype == "float64" else torch.float32
        rows = rows.merged  # equal rows have the same posterior: each is read once
        ahead = _passes_ahead(model, rows) if self.accelerate != "squarem" and single is None else None
        if ahead is not None:
            return AheadSteps(model, rows, ahead)
        plain = EMSteps(model, rows, single)
        if self.accelerate == "squarem":
            return SquaremSteps(plain)
        return SquaremSteps(plain, self.tol) if self.may_accelerate and rows.is_fixed else plain

    @property
    def may_accelerate(self) -> bool:
        """Whether runs are accelerated if they creep."""
        return self.accelerate == "auto" and self.dtype == "float64"

    def accelerated(self, bounds: list[float]) -> bool:
        """Whether a run is accelerated from here on.

        Args:
            bounds: One bound for each pass so far, in nats per row.
        """
        return self.accelerate == "squarem" or (self.may_accelerate and creeps(bounds, self.tol) is not None)

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """The reason to stop after these bounds, or None.

        Raises:
            ArithmeticError: The bound fell by more than rounding can explain.
        """
        if len(bounds) < 2:
            return None
        gain = bounds[-1] - bounds[-2]
        if gain < -IMPOSSIBLE_FALL * (1 + abs(bounds[-1])):
            raise ArithmeticError(
                f"the bound fell by {-gain:.3g} nats per row in pass {len(bounds)}, expected EM never to lower it: "
                "maximize() does not maximize the expected log-likelihood, or the table gives other rows at each "
                "reading, as Binarized does: fit such a table with SVI()"
            )
        at_end = len(bounds) == max_passes  # the last chance: here a run is judged also with tol=0, or after two passes
        if len(bounds) == 2 or (self.accelerate == "squarem" and len(bounds) <= POINTS):
            # of plain EM: SQUAREM extrapolates after these passes
            if at_end and is_rounding(gain, bounds[-1]):
                return ONLY_ROUNDING_LEFT
            return LITTLE_GAINED.format(tol=self.tol) if at_end and gain < self.tol else None
        left = gain_left(bounds[-3:]) if self.tol > 0 or at_end else math.inf
        if not (left == 0 or left < self.tol):
            return None
        if self.accelerated(bounds) and not is_rounding(bounds[-1] - bounds[-3], bounds[-1]):
            # a single pass says little: some gain nothing, because their extrapolation was rejected, and some much
            left = self._accelerated_gain_left(bounds)
            if not (left == 0 or left < self.tol):
                return None
        return LITTLE_LEFT.format(tol=self.tol) if left > 0 else ONLY_ROUNDING_LEFT

    def _accelerated_gain_left(self, bounds: list[float]) -> float:
        """Estimate how much an accelerated run has left to gain."""
        rate = creeps(bounds, self.tol) if self.may_accelerate else None
        if rate is not None:
            # of the last three passes at least one is a step of plain EM, which gains 1 - rate of what is left, or more
            return SAFETY * (bounds[-1] - bounds[-4]) / (1 - rate)
        return gain_left(bounds[-1 - 2 * STRIDE :: STRIDE]) if len(bounds) > 2 * STRIDE else math.inf


def _passes_ahead(model: Any, rows: Rows) -> PassesAhead | None:
    return model.passes_ahead(rows) if isinstance(model, MakesPassesAhead) else None
