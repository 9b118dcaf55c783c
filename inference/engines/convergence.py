"""When a run has arrived: how much a sequence of bounds has left to gain."""

from __future__ import annotations

import sys
from collections.abc import Sequence

LITTLE_LEFT = "converged: less than {tol:g} nats per row left to gain"
ONLY_ROUNDING_LEFT = "converged: no more than rounding left to gain"
NO_PROGRESS = "converged: the best bound rose by less than {tol:g} nats per row in {passes} passes"
ALL_FROZEN = "nothing to fit: every parameter is frozen"
EARLY_STOP = "stopped early: the held-out bound has not risen in {patience} passes"
STEPS_DECAYED = "settled: steps fell to {percent:g} %, less than {tol:g} nats per row gained in the last {tail} passes"
NOISE_FACTOR = 1000  # how much more than tol a noisy run may still gain
MIN_TAIL = 5  # passes from which one may tell that a noisy run has settled
PATIENCE = 50  # passes; Adam overshoots and returns, so one pass without a gain says nothing
# How far rounding may lower the bound of one pass, relative to 1 + |bound|, for covariances of condition up to 1e8: the
# promise that the tests hold EM to.
ROUNDING_FALL = 1e-11
# What rounding takes from a covariance of condition c, c * eps of its thinnest direction, lowers the bound by the
# square of that: up to 1e-7 for c = 1e12. A fall beyond this is not rounding but a wrong M-step.
IMPOSSIBLE_FALL = 1e-6


def gain_left(bounds: Sequence[float]) -> float:
    """What three successive bounds of a linearly converging run leave to gain: gain * r / (1 - r), Aitken's estimate
    from the ratio r of the last two gains, and at least the last gain. Infinite while the gains still grow."""
    first, second, third = bounds
    gain, before = third - second, second - first
    if gain <= 16 * sys.float_info.epsilon * (1 + abs(third)):  # no more than rounding
        return 0.0
    if before <= gain:
        return float("inf")
    ratio = gain / before
    return gain * max(1.0, ratio / (1 - ratio))


def best_pass(held_out: Sequence[float]) -> int:
    """The pass, from 0, of the highest held-out bound; of equal ones the first."""
    return max(range(len(held_out)), key=held_out.__getitem__)
