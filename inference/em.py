"""Expectation maximization: exact posteriors, summed statistics, closed-form parameters, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch

from ..models import Rows, SupportsEM
from .stopping import GAIN, ROUNDED, WRONG, gain_left


@dataclass(frozen=True)
class EM:
    """Expectation maximization (Dempster, Laird & Rubin 1977).

    tol: stop when the bound has less than this left to gain, in nats per row, judged from its last gains (Aitken's
    extrapolation); 0.0 runs all passes. The bound is flat at its top, so that parameters are known to about the square
    root of tol, in units of the data.
    """

    tol: float = 1e-9

    def __post_init__(self):
        if not self.tol >= 0:
            raise ValueError(f"tol is {self.tol!r}, expected nats per row of at least 0")

    def passes(
        self, model: SupportsEM, rows: Rows, max_passes: int, generator: torch.Generator
    ) -> Iterator[torch.Tensor]:
        """Yield the bound, nats per row, of the model as it stands, then improve it in place; and so on."""
        if not isinstance(model, SupportsEM):
            raise TypeError(
                f"EM needs expect() and maximize(), which {type(model).__name__} does not have: fit it with SVI()"
            )

        def climb() -> Iterator[torch.Tensor]:
            while True:
                statistics = reduce(add, (model.expect(*chunk.arguments) for chunk in rows.chunks()))
                yield (statistics.bound + model.global_term().detach()) / statistics.total_weight
                model.maximize(statistics)

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
