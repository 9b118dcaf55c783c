"""How often 95 % intervals cover the truth: observed information and bootstrap, on simulated mixtures.

Run as `python -m benchmarks.coverage`. README.md beside this file says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks.machine import machine
from lowerbound.inference import EM, bootstrap, fit, standard_errors
from lowerbound.models import GaussianMixture, PoissonMixture

LEVEL = 0.95
RESULTS = Path(__file__).parent / "results" / "coverage.json"


@dataclass(frozen=True)
class Design:
    """A mixture of one column, its rows, and the truth by the names of `standard_errors`; components by their mean."""

    make: Callable[[], Any]
    n: int
    truth: dict[str, list[float]]
    quick: bool = True  # EM converges in few passes, so that the bootstrap is taken, too

    def draw(self, seed: int) -> np.ndarray:
        """n rows (n, 1)."""
        rng = np.random.default_rng(seed)
        weights = self.truth["weights"]
        z = rng.choice(len(weights), self.n, p=weights)
        if "family.rate" in self.truth:
            return rng.poisson(np.array(self.truth["family.rate"])[z])[:, None].astype(float)
        loc, scale = (np.array(self.truth[f"family.{name}"]) for name in ("loc", "scale"))
        return rng.normal(loc[z], scale[z])[:, None]


DESIGNS = {
    "two Gaussians far apart, n = 400": Design(
        lambda: GaussianMixture(2, 1, "diag"),
        400,
        {"weights": [0.4, 0.6], "family.loc": [0.0, 6.0], "family.scale": [1.0, 1.5]},
    ),
    "two Gaussians that overlap, n = 400": Design(
        lambda: GaussianMixture(2, 1, "diag"),
        400,
        {"weights": [0.4, 0.6], "family.loc": [0.0, 3.0], "family.scale": [1.0, 1.0]},
        quick=False,
    ),
    "two Poissons, n = 400": Design(
        lambda: PoissonMixture(2, 1), 400, {"weights": [0.4, 0.6], "family.rate": [2.0, 10.0]}
    ),
}


def covered(design: Design, seed: int, repeats: int) -> pd.DataFrame | None:
    """For one data set, whether the interval of each number covers the truth, [information, bootstrap]; None if the fit
    has no standard errors. repeats: 0 leaves the bootstrap out."""
    x = design.draw(seed)
    try:
        fitted = fit(design.make(), x, EM(), restarts=3, max_passes=3000)
        places = fitted.model.family.moments().mean[:, 0]
        fitted.model.permute(places.argsort())
        table = standard_errors(fitted, x).frame(LEVEL)
    except (ArithmeticError, ValueError):
        return None
    truth = np.concatenate([np.ravel(design.truth[name]) for name in design.truth])
    hits = {"information": (table["lower"].to_numpy() <= truth) & (truth <= table["upper"].to_numpy())}
    if repeats:
        again = bootstrap(fitted, x, repeats, seed=seed, max_passes=3000).frame(LEVEL)
        hits["bootstrap"] = (again["lower"].to_numpy() <= truth) & (truth <= again["upper"].to_numpy())
    return pd.DataFrame(hits, index=table.index)


def study(design: Design, sets: int, bootstrapped: int, repeats: int) -> dict:
    """Coverage of each number, over `sets` data sets, the bootstrap on the first `bootstrapped` of them."""
    began = time.perf_counter()
    bootstrapped = bootstrapped if design.quick else 0
    found = [covered(design, seed, repeats if seed < bootstrapped else 0) for seed in range(sets)]
    there = [table for table in found if table is not None]
    both = [table for table in there if "bootstrap" in table]
    return {
        "parameters": list(there[0].index),
        "information": np.mean([t["information"] for t in there], 0).tolist(),
        "bootstrap": np.mean([t["bootstrap"] for t in both], 0).tolist() if both else None,
        "sets": len(there),
        "bootstrapped": len(both),
        "without": sets - len(there),
        "repeats": repeats,
        "seconds": time.perf_counter() - began,
    }


def table(name: str, result: dict) -> Table:
    """Coverage in percent, as a reader sees it."""
    shown = Table(title=f"{name}: {result['sets']} data sets ({result['bootstrapped']} by bootstrap)")
    for head in ("parameter", "information, %", "bootstrap, %"):
        shown.add_column(head, justify="left" if head == "parameter" else "right")
    other = result["bootstrap"] or [None] * len(result["parameters"])
    for parameter, a, b in zip(result["parameters"], result["information"], other, strict=True):
        shown.add_row(parameter, f"{100 * a:.1f}", "" if b is None else f"{100 * b:.0f}")
    return shown


def main(arguments: list[str] | None = None) -> int:
    """Simulate, print, write JSON; 1 if the intervals of the first design, the headline, miss their rate."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--sets", type=int, default=500, help="simulated data sets of each design (default 500)")
    parser.add_argument("--bootstrapped", type=int, default=100, help="of them by bootstrap, too (default 100)")
    parser.add_argument("--repeats", type=int, default=200, help="resamples of each of these (default 200)")
    options = parser.parse_args(arguments)
    console = Console(width=max(100, Console().width))
    torch.set_num_threads(1)
    results = {}
    with threadpool_limits(1):
        about = machine(1)
        console.print(about["text"])
        for name, design in DESIGNS.items():
            results[name] = study(design, options.sets, options.bootstrapped, options.repeats)
            console.print(table(name, results[name]))
            console.print(f"{results[name]['without']} sets without standard errors; {results[name]['seconds']:.0f} s")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": about, "designs": results}, indent=1) + "\n")
    console.print(f"written to {os.path.relpath(RESULTS)}")
    first = next(iter(results.values()))
    off = max(abs(rate - LEVEL) for rate in first["information"])
    allowed = 3 * (LEVEL * (1 - LEVEL) / first["sets"]) ** 0.5
    enough = off <= allowed
    words = "as required" if enough else "TOO FAR"
    console.print(
        f"headline: at most {100 * off:.1f} % off 95 %, 3 standard errors of the simulation are {100 * allowed:.1f} % "
        f"({words})",
        style="green" if enough else "red",
    )
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
