"""Fifty restarts of EM to convergence on Old Faithful, against scikit-learn's n_init=50.

Run as `python -m benchmarks.restarts`. README.md beside this file says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.mixture import GaussianMixture as Theirs
from threadpoolctl import threadpool_limits

from benchmarks.machine import machine
from benchmarks.timing import interleaved
from lowerbound.datasets import load
from lowerbound.inference import EM, fit, together
from lowerbound.models import GaussianMixture

REQUIRED = 5.0  # all restarts must take at most a fifth of scikit-learn's time to comparable convergence
SAME = 1e-6  # nats per row: how closely all sides must agree on the best bound before anything is timed
THEIR_TOLS = tuple(10.0**-i for i in range(3, 13))
RESULTS = Path(__file__).parent / "results" / "restarts.json"


def ours(x: np.ndarray, restarts: int) -> float:
    """The best bound of so many restarts, nats per row."""
    return float(fit(GaussianMixture(2, 2), x, EM(), restarts=restarts).bounds[-1])


def ours_in_turn(x: np.ndarray, restarts: int) -> float:
    """The same without the batch: one restart after the other."""
    inner, together._fit_together = together._fit_together, lambda task: False
    try:
        return ours(x, restarts)
    finally:
        together._fit_together = inner


def theirs(x: np.ndarray, restarts: int, tol: float) -> float:
    """The best bound of scikit-learn's restarts, nats per row."""
    model = Theirs(2, n_init=restarts, tol=tol, max_iter=500, reg_covar=0.0, random_state=0).fit(x)
    return float(model.score(x))


def run(restarts: int, pairs: int) -> dict:
    """Seconds of each side, and how many times ours is as fast as scikit-learn (median, least, most)."""
    x = load("faithful").to_numpy()
    top = float(fit(GaussianMixture(2, 2), x, EM(tol=0.0), max_passes=100).bounds[-1])
    gap = top - ours(x, restarts)
    gaps = {tol: top - theirs(x, restarts, tol) for tol in THEIR_TOLS}
    # the largest of their tols that ends as near to the top as ours, but for rounding
    comparable = max((tol for tol in THEIR_TOLS if gaps[tol] <= max(gap, 1e-12)), default=THEIR_TOLS[-1])
    if not max(abs(gap), abs(gaps[comparable]), abs(gaps[THEIR_TOLS[0]])) <= SAME:
        raise SystemExit(f"the best bounds end {gap:.2g}, {gaps[comparable]:.2g} nats per row from the top")
    sides: dict[str, Callable[[], float]] = {
        "ours": lambda: ours(x, restarts),
        "ours, in turn": lambda: ours_in_turn(x, restarts),
        "scikit-learn, comparable": lambda: theirs(x, restarts, comparable),
        "scikit-learn, default tol": lambda: theirs(x, restarts, THEIR_TOLS[0]),
    }
    seconds = interleaved(sides, pairs)
    result: dict = {"restarts": restarts, "pairs": pairs, "gap": gap, "their_tol": comparable, "sides": {}}
    missing = {"ours": gap, "ours, in turn": top - ours_in_turn(x, restarts)}
    missing |= {"scikit-learn, comparable": gaps[comparable], "scikit-learn, default tol": gaps[THEIR_TOLS[0]]}
    for name, times in seconds.items():
        ratios = [b / a for a, b in zip(seconds["ours"], times, strict=True)]
        result["sides"][name] = {
            "s": median(times), "ratio": median(ratios), "least": min(ratios), "most": max(ratios), "gap": missing[name]
        }  # fmt: skip
    return result


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write JSON; 1 if ours is not `REQUIRED` times as fast to comparable convergence, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restarts", description=__doc__)
    parser.add_argument("--pairs", type=int, default=9, help="timings of each side (default 9)")
    parser.add_argument("--restarts", type=int, default=50, help="restarts of each side (default 50)")
    options = parser.parse_args(arguments)
    console = Console(width=max(110, Console().width))
    torch.set_num_threads(1)
    with threadpool_limits(1):
        about = machine(1)
        console.print(about["text"])
        result = run(options.restarts, options.pairs)
    shown = Table(title=f"{options.restarts} restarts on 272 x 2, 2 components, full: milliseconds, median")
    for name in ("", "ms", "times ours", "least - most", "nats per row from the top"):
        shown.add_column(name, justify="left" if not name else "right")
    for name, r in result["sides"].items():
        times = f"{1e3 * r['s']:.1f}", f"{r['ratio']:.2f}", f"{r['least']:.2f} - {r['most']:.2f}"
        shown.add_row(name, *times, f"{r['gap']:.1g}")
    console.print(shown)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": about, **result}, indent=1) + "\n")
    ratio = result["sides"]["scikit-learn, comparable"]["ratio"]
    verdict = "" if ratio >= REQUIRED else f": TOO SLOW, expected at least {REQUIRED:g}"
    console.print(f"{ratio:.2f} times as fast as scikit-learn (tol={result['their_tol']:g}){verdict}")
    return int(ratio < REQUIRED)


if __name__ == "__main__":
    sys.exit(main())
