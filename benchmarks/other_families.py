"""One EM pass of latent classes against StepMix, and one pass of k-means against scikit-learn.

Run as `python -m benchmarks.other_families`. README.md beside this file says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.cluster._k_means_lloyd import lloyd_iter_chunked_dense
from stepmix.stepmix import StepMix
from threadpoolctl import ThreadpoolController, threadpool_limits

from benchmarks.machine import machine
from benchmarks.timing import interleaved
from lowerbound.inference import EM
from lowerbound.models import CategoricalMixture, KMeans, Mixture, Rows, seed

CLASSES = ((100_000, 20, 4, 5),)  # rows, columns, levels, components; the first is the headline
CENTRES = ((200_000, 8, 8), (200_000, 32, 100))  # rows, columns, centres
REQUIRED = 10.0  # the headline must be at least this many times as fast as StepMix
SAME = 1e-9  # nats per row, or relative distortion: how closely both sides must agree before anything is timed
RESULTS = Path(__file__).parent / "results" / "other_families.json"

Pass = Callable[[], float]


def ours(x: np.ndarray, model: Mixture) -> Pass:
    """A function that runs one pass, as `fit` does, and returns its bound."""
    rows = Rows(x)
    _ = rows.moments  # as `fit` does first: all rows are looked at once, and not again
    passes = EM(tol=0.0).passes(model, rows, sys.maxsize, torch.Generator())
    return lambda: float(next(passes))  # M-step, then E-step; the first time the E-step alone


def latent_classes(n: int, d: int, levels: int, k: int) -> tuple[Pass, Pass]:
    """Ours and StepMix's pass on n rows of d columns drawn from k classes, from one start."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(levels), size=(k, d))[rng.integers(k, size=n)]
    x = (rng.random((n, d, 1)) > shares.cumsum(-1)).sum(-1).clip(max=levels - 1).astype(float)
    model = seed(CategoricalMixture(k, [levels] * d), x)
    other = StepMix(n_components=k, measurement="categorical", n_init=1, max_iter=1, verbose=0, progress_bar=0)
    codes = x.astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one iteration, to set it up, does not converge
        other.fit(codes)
    start = other.get_parameters()
    start["weights"] = model.weights.detach().numpy().copy()
    start["measurement"]["pis"] = model.family.probs.detach().numpy().reshape(k, -1).copy()
    other.set_parameters(start)
    log_shares = None

    def theirs() -> float:
        nonlocal log_shares
        if log_shares is not None:
            other._m_step(codes, np.exp(log_shares))
        bound, log_shares = other._e_step(codes)
        return float(bound)

    return ours(x, model), theirs


def k_means(n: int, d: int, k: int, threads: int) -> tuple[Pass, Pass]:
    """Ours and scikit-learn's (Lloyd) pass on n rows around k centres, from one start: both return the distortion."""
    rng = np.random.default_rng(0)
    x = 1.5 * rng.normal(size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))
    model = seed(KMeans(k, d), x)
    rows = torch.as_tensor(x)
    centres, new = model.loc.detach().numpy().copy(), np.zeros((k, d))
    weights, counts, shift, labels = np.ones(n), np.zeros(k), np.zeros(k), np.zeros(n, dtype=np.int32)

    def our_pass() -> float:
        statistics = model.expect(rows)
        model.maximize(statistics)
        return float(statistics.distortion)

    pools = ThreadpoolController()

    def their_pass() -> float:
        nonlocal centres, new
        before = centres
        with pools.limit(limits=1, user_api="blas"):  # as scikit-learn does: its own loop has the threads
            lloyd_iter_chunked_dense(x, weights, centres, new, counts, labels, shift, threads)
        centres, new = new, centres
        return before  # type: ignore[return-value]

    def their_distortion() -> float:
        return float(np.square(x - their_pass()[labels]).sum())  # type: ignore[index]

    for _ in range(3):
        a, b = our_pass(), their_distortion()
        if not abs(a - b) <= SAME * b:
            raise SystemExit(f"the distortions of {n} x {d}, {k} centres differ: {a!r} and {b!r}")
    return our_pass, their_pass


def measure(name: str, shape: tuple[int, ...], sides: tuple[Pass, Pass], other: str, pairs: int) -> dict:
    """One row of the table: seconds of each side, and how many times ours is as fast (median, least, most)."""
    seconds = interleaved(dict(zip(("ours", other), sides, strict=True)), pairs)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds[other], strict=True)]
    return {
        "what": name,
        "shape": list(shape),
        "other": other,
        "ours_s": median(seconds["ours"]),
        "other_s": median(seconds[other]),
        "ratio": median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "pairs": pairs,
    }


def run(pairs: int, threads: int) -> list[dict]:
    """All rows of the table, the headline first."""
    results = []
    for shape in CLASSES:
        sides = latent_classes(*shape)
        difference = max(abs(sides[0]() - sides[1]()) for _ in range(3))
        if not difference <= SAME:
            raise SystemExit(f"the bounds of latent classes {shape} differ by {difference:.2g} nats a row")
        results.append(measure("latent classes", shape, sides, "StepMix", pairs))
    for shape in CENTRES:
        results.append(measure("k-means", shape, k_means(*shape, threads), "scikit-learn", pairs))
    return results


def table(results: list[dict]) -> Table:
    """The comparison as a reader sees it."""
    shown = Table(title="One pass (E- and M-step): milliseconds, median; ratio = the other's / ours")
    for name in ("what", "rows x columns ...", "ours", "other", "ms", "ratio", "least - most"):
        shown.add_column(name, justify="left" if name in ("what", "other") else "right")
    for r in results:
        shape = " x ".join(f"{size:,}" for size in r["shape"])
        spread = f"{r['least']:.2f} - {r['most']:.2f}"
        times = f"{1e3 * r['ours_s']:.2f}", r["other"], f"{1e3 * r['other_s']:.2f}"
        shown.add_row(r["what"], shape, *times, f"{r['ratio']:.2f}", spread)
    return shown


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write JSON; 1 if the headline ratio is below `REQUIRED`, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.other_families", description=__doc__)
    parser.add_argument("--pairs", type=int, default=9, help="timings of each side (default 9)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side (default 2)")
    options = parser.parse_args(arguments)
    console = Console(width=max(110, Console().width))
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        about = machine(options.threads)
        about["versions"]["stepmix"] = version("stepmix")
        console.print(about["text"])
        results = run(options.pairs, options.threads)
    console.print(table(results))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": about, "passes": results}, indent=1) + "\n")
    console.print(f"written to {os.path.relpath(RESULTS)}")
    ratio = results[0]["ratio"]
    enough = ratio >= REQUIRED
    words = "as required" if enough else f"TOO SLOW, at least {REQUIRED:g} is required"
    console.print(f"latent classes: {ratio:.1f} times as fast as StepMix ({words})", style="green" if enough else "red")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
