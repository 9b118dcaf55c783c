"""When a run has converged: how much a sequence of bounds has left to gain, and the reasons to stop in words."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from itertools import pairwise

# Reasons to stop, as `Fit.reason` has them.
LITTLE_LEFT = "converged: less than {tol:g} nats per row left to gain"
LITTLE_GAINED = "converged: the last pass gained less than {tol:g} nats per row"  # of a run too short for an estimate
ONLY_ROUNDING_LEFT = "converged: no more than rounding left to gain"
NO_PROGRESS = "converged: the best bound rose by less than {tol:g} nats per row in {passes} passes"
STEPS_DECAYED = (
    "converged: step size decayed to {percent:g} %, less than {tol:g} nats per row gained in the last {tail} passes"
)
NOT_A_MAXIMUM = (
    "not converged: the last passes gained nothing, but the gradient is {norm:.2g}, and a step along it gains "
    "{gain:.2g} nats per row"
)
ALL_FROZEN = "nothing to fit: every parameter is frozen"
EARLY_STOP = "stopped early: the held-out bound has not risen in {patience} passes"

NOISE_FACTOR = 1000  # how many times tol a noisy run may still gain and count as converged
MIN_TAIL = 5  # the fewest passes from which the gain of a noisy run can be judged
PATIENCE = 50  # passes; Adam overshoots and returns, so a single pass without a gain says nothing
# How far rounding may lower the bound in one pass, relative to 1 + |bound|, for covariances with a condition number up
# to 1e8. The tests check EM against it.
ROUNDING_FALL = 1e-11
# A covariance with condition number c loses c * eps of its thinnest direction to rounding, which lowers the bound by
# the square of that: up to 1e-7 for c = 1e12. A larger fall is a wrong M-step.
IMPOSSIBLE_FALL = 1e-6

SPAN = 2  # passes whose gains are added before they are compared
MANY_PASSES = 18  # an accelerated run needs about as many to know that it has converged, and each takes longer
NEAR = 1e-4  # nats per row: farther away an extrapolation may lead to another optimum
STEADY = 0.5  # how much of their last ratio the ratio of the gains must keep: those of k-means have no rate
# Numbers of passes, each an eighth more than the one before, up to some 600,000: a long run is not looked at each time
JUDGED_AFTER = tuple(dict.fromkeys(int(7 * 1.12**i) for i in range(101)))


def is_rounding(gain: float, bound: float) -> bool:
    """Whether a gain in this bound is no more than rounding."""
    return gain <= 16 * sys.float_info.epsilon * (1 + abs(bound))


def says_no_gain(reason: str | None) -> bool:
    """Whether a run stopped because its bound no longer rose, which does not say that it is at a maximum.

    A run whose steps decayed says itself how little it gained, of an estimate with noise.
    """
    return reason is not None and reason.startswith("converged") and not reason.startswith(STEPS_DECAYED[:20])


def gain_left(bounds: Sequence[float]) -> float:
    """Estimate how much a linearly converging run has left to gain, from three successive bounds.

    Aitken's estimate gain * r / (1 - r), where r is the ratio of the last two gains, and at least the last gain.
    Infinite while the gains still grow.
    """
    first, second, third = bounds
    gain, before = third - second, second - first
    if is_rounding(gain, third):
        return 0.0
    if before <= gain:
        return float("inf")
    ratio = gain / before
    return gain * max(1.0, ratio / (1 - ratio))


def creeps(bounds: Sequence[float], tol: float) -> float | None:
    """The rate at which the gains of a run of EM shrink, if it has so many passes left that extrapolating pays, else
    None.

    Judged after certain numbers of passes, from the bounds up to there alone: the answer for a longer run is yes if it
    was for its beginning. A run creeps if its gains shrink, little is left to gain (so that it is near its optimum,
    and an extrapolation does not lead to another one), and at their rate it takes `MANY_PASSES` or more until less than
    tol is left.
    """
    for number in JUDGED_AFTER:
        if number > len(bounds):
            return None
        *_, first, second, third = span = bounds[number - 1 - 3 * SPAN : number : SPAN]
        earlier, before, gain = (b - a for a, b in pairwise(span))
        if is_rounding(gain, third) or not before > gain or not earlier > before or gain * earlier < STEADY * before**2:
            continue
        rate = (gain / before) ** (1 / SPAN)
        left = gain_left((first, second, third))
        least = max(tol, sys.float_info.epsilon * (1 + abs(third)))
        if least < left < NEAR and math.log(left / least) >= -math.log(rate) * MANY_PASSES:
            return rate
    return None


def judged_after(number: int) -> bool:
    """Whether `creeps` looks at a run again after this number of passes."""
    return number in JUDGED_AFTER


def best_pass(held_out: Sequence[float]) -> int:
    """The pass with the highest held-out bound, counted from 0; the first of equal ones."""
    return max(range(len(held_out)), key=held_out.__getitem__)
