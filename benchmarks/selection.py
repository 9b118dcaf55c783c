"""How often BIC, ICL and cross-validation find the model that the data were drawn from.

Run as `python -m benchmarks.selection`. README.md beside this file says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks.machine import machine
from lowerbound.inference import EM, select
from lowerbound.models import BernoulliMixture, GaussianMixture, PoissonMixture

RESULTS = Path(__file__).parent / "results" / "selection.json"
REQUIRED = 0.9  # the share of data sets in which BIC must find the truth of the first design
MIXING = {  # Cholesky factors of two components, in 2 dimensions
    "full": [[[1.0, 0.0], [0.8, 0.6]], [[1.0, 0.0], [-0.8, 0.6]]],
    "tied": [[[1.0, 0.0], [0.8, 0.6]], [[1.0, 0.0], [0.8, 0.6]]],
    "diag": [[[1.5, 0.0], [0.0, 0.5]], [[0.5, 0.0], [0.0, 1.5]]],
    "spherical": [[[1.5, 0.0], [0.0, 1.5]], [[0.6, 0.0], [0.0, 0.6]]],
}


@dataclass(frozen=True)
class Design:
    """Candidates by name, the true one, and how rows are drawn from it."""

    truth: str
    candidates: Callable[[], dict[str, Any]]
    draw: Callable[[np.random.Generator], np.ndarray]


def gaussians(factors: Any, centres: Any, n: int) -> Callable[[np.random.Generator], np.ndarray]:
    """n rows of equally likely Gaussians."""
    scale, loc = np.array(factors), np.array(centres, dtype=float)

    def draw(rng: np.random.Generator) -> np.ndarray:
        z = rng.integers(len(loc), size=n)
        return loc[z] + np.einsum("nij,nj->ni", scale[z], rng.standard_normal((n, loc.shape[1])))

    return draw


def counts(rng: np.random.Generator) -> np.ndarray:
    """300 counts of two rates."""
    return rng.poisson(np.where(rng.random(300) < 0.4, 2.0, 10.0))[:, None].astype(float)


def answers(rng: np.random.Generator) -> np.ndarray:
    """500 rows of 8 answers, of three classes."""
    probs = np.array([[0.9] * 8, [0.1] * 8, [0.9] * 4 + [0.1] * 4])
    return (rng.random((500, 8)) < probs[rng.choice(3, 500, p=[0.4, 0.35, 0.25])]).astype(float)


THREE = gaussians([[[1.0, 0.0], [0.7, 0.7]], [[1.0, 0.0], [-0.7, 0.7]], [[0.6, 0.0], [0.0, 1.2]]],
                  [[0, 0], [5, 0], [2.5, 5]], 300)  # fmt: skip
DESIGNS = {
    "three full Gaussians in 2 dimensions, n = 300": Design(
        "K=3", lambda: {f"K={k}": GaussianMixture(k, 2) for k in range(1, 5)}, THREE
    ),
    **{
        f"two {shape} Gaussians in 2 dimensions, n = 300": Design(
            shape,
            lambda: {other: GaussianMixture(2, 2, other) for other in MIXING},
            gaussians(factors, [[0, 0], [4, 4]], 300),
        )
        for shape, factors in MIXING.items()
    },
    "two Gaussians 2.5 standard deviations apart, n = 300": Design(
        "K=2",
        lambda: {f"K={k}": GaussianMixture(k, 1, "tied-spherical") for k in range(1, 5)},
        gaussians([[[1.0]], [[1.0]]], [[0], [2.5]], 300),
    ),
    "two Poissons, rates 2 and 10, n = 300": Design(
        "K=2", lambda: {f"K={k}": PoissonMixture(k, 1) for k in range(1, 5)}, counts
    ),
    "three latent classes of 8 answers, n = 500": Design(
        "K=3", lambda: {f"K={k}": BernoulliMixture(k, 8) for k in range(1, 5)}, answers
    ),
}


def study(design: Design, sets: int, restarts: int, folds: int, tol: float) -> dict:
    """How often each criterion chose what, over data sets drawn from the seeds 0, 1, ..."""
    began = time.perf_counter()
    chosen: dict[str, Counter] = {"bic": Counter(), "icl": Counter(), "held_out": Counter()}
    degenerate = 0
    for seed in range(sets):
        x = design.draw(np.random.default_rng(seed))
        found = select(x, design.candidates(), EM(tol), restarts=restarts, folds=folds, seed=seed)
        degenerate += bool(found.degenerate)
        for criterion, counter in chosen.items():
            counter[found.best(criterion)] += 1
    return {
        "truth": design.truth,
        "sets": sets,
        "chosen": {criterion: dict(counter.most_common()) for criterion, counter in chosen.items()},
        "share": {criterion: counter[design.truth] / sets for criterion, counter in chosen.items()},
        "with_degenerate": degenerate,
        "seconds": time.perf_counter() - began,
    }


def table(results: dict[str, dict]) -> Table:
    """Shares in percent, and what was chosen instead."""
    shown = Table(title="How often the truth was found, %")
    for head in ("design", "truth", "BIC", "ICL", "held out", "chosen on rows held out"):
        shown.add_column(head, justify="right" if head in ("BIC", "ICL", "held out") else "left")
    for name, result in results.items():
        shares = [f"{100 * result['share'][criterion]:.0f}" for criterion in ("bic", "icl", "held_out")]
        rest = ", ".join(f"{other} {count}" for other, count in result["chosen"]["held_out"].items())
        shown.add_row(name, result["truth"], *shares, rest)
    return shown


def main(arguments: list[str] | None = None) -> int:
    """Simulate, print, write JSON; 1 if BIC finds the truth of the first design less often than required."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.selection", description=__doc__)
    parser.add_argument("--sets", type=int, default=50, help="simulated data sets of each design (default 50)")
    parser.add_argument("--restarts", type=int, default=3, help="starts of each fit (default 3)")
    parser.add_argument("--folds", type=int, default=3, help="folds (default 3)")
    parser.add_argument("--tol", type=float, default=1e-5, help="of EM, nats per row left to gain (default 1e-5)")
    options = parser.parse_args(arguments)
    console = Console(width=max(130, Console().width))
    torch.set_num_threads(1)
    results = {}
    with threadpool_limits(1):
        about = machine(1)
        console.print(about["text"])
        for name, design in DESIGNS.items():
            results[name] = study(design, options.sets, options.restarts, options.folds, options.tol)
            done = results[name]
            console.print(f"{name}: {done['chosen']}, {done['with_degenerate']} degenerate, {done['seconds']:.0f} s")
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            RESULTS.write_text(json.dumps({"machine": about, "designs": results}, indent=1) + "\n")
    console.print(table(results))
    console.print(f"written to {os.path.relpath(RESULTS)}")
    share = next(iter(results.values()))["share"]["bic"]
    enough = share >= REQUIRED
    words = "as required" if enough else f"TOO FEW, at least {100 * REQUIRED:g} % are required"
    console.print(f"headline: BIC finds the truth in {100 * share:.0f} % ({words})", style="green" if enough else "red")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
