"""One EM pass of a Gaussian mixture against one scikit-learn iteration, and what one SVI step costs.

Run as `python -m benchmarks.gaussian_pass [--quick]`. README.md beside this file says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.mixture import GaussianMixture as Sklearn
from threadpoolctl import threadpool_limits

from benchmarks.machine import machine
from benchmarks.svi_step import steps
from benchmarks.timing import interleaved
from lowerbound.inference import EM
from lowerbound.models import GaussianMixture, Mixture, Rows, seed

HEADLINE = (200_000, 16, 16, "full")  # rows, columns, components, covariance
REQUIRED = 6.0  # the headline must be at least this many times as fast as scikit-learn
OTHERS = (
    (200_000, 16, 16, "tied"),
    (200_000, 16, 16, "diag"),
    (200_000, 16, 16, "spherical"),
    (272, 2, 2, "full"),
    (100_000, 4, 8, "full"),
    (20_000, 64, 8, "full"),
)
SAME = 1e-9  # nats per row: how closely the two bounds must agree before anything is timed
RESULTS = Path(__file__).parent / "results" / "gaussian_pass.json"


def data(n: int, d: int, k: int) -> np.ndarray:
    """n rows of k overlapping Gaussians in d columns, each with its own full covariance."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(k, d, d)) / d**0.5
    z = rng.integers(k, size=n)
    x = rng.normal(scale=1.5, size=(k, d))[z] + rng.normal(size=(n, d)) * 0.5
    for j in range(k):
        x[z == j] += rng.normal(size=(int((z == j).sum()), d)) @ mixing[j]
    return x


def ours(x: np.ndarray, model: Mixture) -> Callable[[], float]:
    """A function that runs one pass of EM, as `fit` does, and returns its bound."""
    rows = Rows(x)
    _ = rows.moments  # as `fit` does first: all rows are looked at once, and not again
    passes = EM(tol=0.0).passes(model, rows, sys.maxsize, torch.Generator())
    return lambda: float(next(passes))  # M-step, then E-step; the first time the E-step alone


def theirs(x: np.ndarray, model: Mixture, covariance: str) -> Callable[[], float]:
    """A function that runs one iteration of scikit-learn from the parameters of `model` and returns its bound."""
    mixture = Sklearn(len(model.weights), covariance_type=covariance, reg_covar=0.0)
    factor = getattr(model.family, model.family.shape.name).detach()
    precisions = torch.linalg.inv(factor).mT if covariance in ("full", "tied") else 1 / factor
    mixture.weights_, mixture.means_ = model.weights.detach().numpy(), model.family.loc.detach().numpy()
    mixture.precisions_cholesky_ = precisions.numpy()
    responsibilities = None

    def iteration() -> float:
        nonlocal responsibilities
        if responsibilities is not None:
            mixture._m_step(x, responsibilities)
        bound, responsibilities = mixture._e_step(x)
        return float(bound)

    return iteration


def compare(n: int, d: int, k: int, covariance: str, pairs: int) -> dict:
    """One row of the table: seconds of each side, and how many times ours is as fast (median, least, most)."""
    x = data(n, d, k)
    model = seed(GaussianMixture(k, d, covariance), x)
    iteration, one_pass = theirs(x, model, covariance), ours(x, model)
    difference = max(abs(one_pass() - iteration()) for _ in range(3))
    if not difference <= SAME:
        raise SystemExit(f"the bounds of {n} x {d}, {k} components, {covariance} differ by {difference:.2g} nats a row")
    seconds = interleaved({"ours": one_pass, "scikit-learn": iteration}, pairs)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["scikit-learn"], strict=True)]
    return {
        "rows": n,
        "columns": d,
        "components": k,
        "covariance": covariance,
        "ours_s": median(seconds["ours"]),
        "sklearn_s": median(seconds["scikit-learn"]),
        "ratio": median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "pairs": pairs,
        "bound_difference": difference,
    }


def passes_table(results: list[dict]) -> Table:
    """The comparison with scikit-learn as a reader sees it."""
    table = Table(title="One EM pass (E- and M-step): milliseconds, median; ratio = scikit-learn / ours")
    for name in ("rows", "columns", "components", "covariance", "ours", "scikit-learn", "ratio", "least - most"):
        table.add_column(name, justify="left" if name == "covariance" else "right")
    for r in results:
        shape = (f"{r['rows']:,}", str(r["columns"]), str(r["components"]), r["covariance"])
        times = (f"{1e3 * r['ours_s']:.2f}", f"{1e3 * r['sklearn_s']:.2f}")
        table.add_row(*shape, *times, f"{r['ratio']:.1f}", f"{r['least']:.1f} - {r['most']:.1f}")
    return table


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write JSON; 1 if the headline ratio is below `REQUIRED`, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gaussian_pass", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the headline, at a tenth of its rows, and one small step")
    parser.add_argument("--pairs", type=int, default=9, help="timings of each side (default 9)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side (default 2)")
    options = parser.parse_args(arguments)
    shapes = [(HEADLINE[0] // 10, *HEADLINE[1:])] if options.quick else [HEADLINE, *OTHERS]
    console = Console(width=max(100, Console().width))
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        about = machine(options.threads)
        console.print(about["text"])
        if about["busy"]:
            console.print(
                "the machine is busy: threads wait for one another, and ratios scatter; --threads 1 holds better"
            )
        results = [compare(*shape, options.pairs) for shape in shapes]
        console.print(passes_table(results))
        step_results, step_table = steps(options.pairs, options.quick)
        console.print(step_table)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": about, "passes": results, "svi_steps": step_results}, indent=1) + "\n")
    console.print(f"written to {os.path.relpath(RESULTS)}")
    ratio = results[0]["ratio"]
    enough = ratio >= REQUIRED
    words = "as required" if enough else f"TOO SLOW, at least {REQUIRED:g} is required"
    console.print(f"headline: {ratio:.1f} times as fast as scikit-learn ({words})", style="green" if enough else "red")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
