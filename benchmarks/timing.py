"""Timing several functions in turn, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping

# seconds: threads of the library timed before go on spinning for a while, and would take a core from the next
SETTLE = 0.2
SPAN = 0.1  # seconds: after a pause a virtual processor takes some tens of milliseconds to be as fast as in a fit
SLOW = 0.1  # seconds: a call that takes longer needs no other one first, to wake threads and fill caches
TIMES, LEAST = 9, 3  # timings of each function, and how many there are however long they take
BUDGET = 12.0  # seconds, after which no further round begins


def interleaved(
    functions: Mapping[str, Callable[[], object]], times: int | None = None, calls: int = 1
) -> dict[str, list[float]]:
    """Seconds per call of each function, `times` of them, in the order a b a b ...; one round first is not counted.

    times: None for `TIMES`, or for as many, but at least `LEAST`, as begin within `BUDGET` seconds. calls: how often
    each is called between two readings of the clock. Functions too quick for it are called more often, until a reading
    spans `SPAN`.
    """
    budget = BUDGET if times is None else math.inf
    repeats, slow = {}, {}
    for name, function in functions.items():
        spent = _seconds(function)
        if spent <= SLOW:  # the first call may have been slower than the others
            spent = _seconds(function)
        repeats[name], slow[name] = max(calls, min(1000, int(SPAN / spent) + 1)), spent > SLOW
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    try:
        for number in range(TIMES if times is None else times):
            if number >= LEAST and time.perf_counter() - start > budget:
                break
            for name, function in functions.items():
                time.sleep(SETTLE)
                if not slow[name]:
                    function()
                began = time.perf_counter()
                for _ in range(repeats[name]):
                    function()
                seconds[name].append((time.perf_counter() - began) / repeats[name])
    finally:
        gc.enable()
    return seconds


def _seconds(function: Callable[[], object]) -> float:
    """Of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
