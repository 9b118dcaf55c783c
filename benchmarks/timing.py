"""Timing several functions in turn, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

SETTLE = (
    0.2  # seconds: threads of the library timed before go on spinning for a while, and would take a core from the next
)


def interleaved(functions: Mapping[str, Callable[[], object]], times: int, calls: int = 1) -> dict[str, list[float]]:
    """Seconds per call of each function, `times` of them, in the order a b a b ...; one round first is not counted.

    calls: how often each is called between two readings of the clock. Functions too quick for it are called more often,
    until a reading spans 20 ms.
    """
    repeats = {}
    for name, function in functions.items():
        function()
        began = time.perf_counter()
        function()
        repeats[name] = max(calls, min(1000, int(0.02 / (time.perf_counter() - began)) + 1))
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    gc.collect()
    gc.disable()
    try:
        for _ in range(times):
            for name, function in functions.items():
                time.sleep(SETTLE)
                function()
                began = time.perf_counter()
                for _ in range(repeats[name]):
                    function()
                seconds[name].append((time.perf_counter() - began) / repeats[name])
    finally:
        gc.enable()
    return seconds
