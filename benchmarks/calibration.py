"""Whether posteriors are calibrated: simulation-based calibration of NUTS, and how far variational Bayes falls short.

Run as `python -m benchmarks.calibration`. README.md beside this file says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from pyro.ops.stats import effective_sample_size
from rich.console import Console
from rich.table import Table
from scipy.stats import binom
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.distributions import Gamma

from benchmarks.machine import machine
from lowerbound.inference import EM, NUTS, fit
from lowerbound.inference.report.plots.style import COLOURS, DASHES, blank_figure, despine, set_title_and_caption
from lowerbound.models import BayesianMixture, Poisson

ROWS = 25
DRAWS, THIN, WARMUP = 19, 7, 120  # 20 ranks: the central 50 % and 90 % are 10 and 18 of them
LEVELS = {"50": 0.5, "90": 0.9}
LEAST = 0.01  # p-value, of all quantities together, below which the sampler is held to be miscalibrated
FOLDER = Path(__file__).parent / "results"
RESULTS, PICTURE = FOLDER / "calibration.json", FOLDER / "calibration.png"
NAMES = {"nuts": "NUTS", "vb": "variational Bayes"}


def mixture() -> BayesianMixture:
    """Two Poissons whose rates and weights have the priors that `drawn` draws from."""
    return BayesianMixture(Poisson(2, 1), Gamma(2.0, 0.5), concentration=2.0)


def drawn(seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """One draw of theta from the prior, {"weights": (1, 2), "rate": (1, 2, 1)}, and rows (n, 1) from the mixture that
    it is: by numpy, nothing of ours."""
    rng = np.random.default_rng(seed)
    weights, rate = rng.dirichlet([2.0, 2.0]), rng.gamma(2.0, 1 / 0.5, 2)
    x = rng.poisson(rate[rng.choice(2, ROWS, p=weights)])
    theta = {"weights": torch.tensor(weights)[None], "rate": torch.tensor(rate)[None, :, None]}
    return theta, torch.tensor(x, dtype=torch.float64)[:, None]


def quantities(model: BayesianMixture, theta: dict[str, Tensor], x: Tensor) -> dict[str, np.ndarray]:
    """What does not depend on labels, of each draw."""
    rates = theta["rate"].squeeze(-1).sort(1).values
    return {
        "lower rate": rates[:, 0].numpy(),
        "higher rate": rates[:, 1].numpy(),
        "larger weight": theta["weights"].amax(1).numpy(),
        "log likelihood": model.log_likelihood(theta, x).sum(1).numpy(),
    }


def ranks(seed: int, engine: str) -> tuple[dict[str, int], dict[str, float]]:
    """Of one data set, how many of the posterior draws lie below the truth, by quantity; and of NUTS how many
    independent draws all of its chain is worth, and whether the halves of that agree."""
    truth, x = drawn(seed)
    told: dict[str, float] = {}
    if engine == "nuts":
        found = fit(mixture(), x, NUTS(DRAWS * THIN, WARMUP, chains=1), seed=seed)
        every = found.model.q.theta  # type: ignore[reportAttributeAccessIssue]
        chains = [torch.tensor(value)[None] for value in quantities(found.model, every, x).values()]
        told = {"effective": min(float(effective_sample_size(chain, 0, 1)) for chain in chains)}
        told["converged"] = float(found.converged)
        theta = {name: value[THIN - 1 :: THIN] for name, value in every.items()}
    else:
        found = fit(mixture(), x, EM(tol=1e-7), max_passes=5000, seed=seed)
        theta = found.model.draw(DRAWS, seed=seed)
    ours, true = (quantities(found.model, value, x) for value in (theta, truth))
    return {name: int((ours[name] < true[name][0]).sum()) for name in ours}, told


def null(sets: int, simulations: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    """If ranks of so many data sets are uniform: the tail of their cumulative counts that is least likely, sorted, of
    each simulation (s,); and the tail of each count at each rank (sets + 1, DRAWS), of the nearer side."""
    at = np.arange(1, DRAWS + 1) / (DRAWS + 1)
    count = np.arange(sets + 1)[:, None]
    tails = np.minimum(binom.cdf(count, sets, at), binom.sf(count - 1, sets, at))
    uniform = np.random.default_rng(0).multinomial(sets, np.full(DRAWS + 1, 1 / (DRAWS + 1)), simulations)
    below = uniform.cumsum(1)[:, :-1]
    return np.sort(tails[below, np.arange(DRAWS)].min(1)), tails


def judged(found: np.ndarray) -> dict[str, Any]:
    """Of ranks (sets,): the p-value of uniformity, by the least likely point of their cumulative distribution, the
    coverage of central intervals with its standard error, cumulative shares less uniform ones and their 95 % band."""
    sets = len(found)
    least, tails = null(sets)
    counts = np.bincount(found, minlength=DRAWS + 1)
    below = counts.cumsum()[:-1]
    worst = tails[below, np.arange(DRAWS)].min()
    within = tails >= np.quantile(least, 0.05)  # counts in the band that uniform ranks stay inside of 95 % of the time
    low, high = within.argmax(0), sets - within[::-1].argmax(0)
    uniform = np.arange(1, DRAWS + 1) / (DRAWS + 1)
    coverage = {}
    for name, level in LEVELS.items():
        out = round((1 - level) / 2 * (DRAWS + 1))
        coverage[name] = float(np.mean((found >= out) & (found <= DRAWS - out)))
    return {
        "p": float((np.searchsorted(least, worst, side="right") + 1) / (len(least) + 1)),
        "coverage": coverage,
        "counts": counts.tolist(),
        "difference": (below / sets - uniform).tolist(),
        "band": [(low / sets - uniform).tolist(), (high / sets - uniform).tolist()],
    }


def study(engine: str, sets: int) -> dict[str, Any]:
    """Calibration of one engine over so many data sets."""
    began = time.perf_counter()
    each, told = zip(*(ranks(seed, engine) for seed in range(sets)), strict=True)
    result: dict[str, Any] = {
        "sets": sets,
        "quantities": {name: judged(np.array([one[name] for one in each])) for name in each[0]},
    }
    if engine == "nuts":
        result["effective"] = float(np.median([one["effective"] for one in told]))
        result["converged"] = float(np.mean([one["converged"] for one in told]))
    result["seconds"] = time.perf_counter() - began
    return result


def table(result: dict[str, dict[str, Any]]) -> Table:
    """Coverage in percent and p-values, as a reader sees them."""
    shown = Table(title=", ".join(f"{NAMES[engine]}: {own['sets']} data sets" for engine, own in result.items()))
    shown.add_column("quantity", no_wrap=True)
    for engine in result:
        for head in ("p, uniform ranks", *(f"{level} % cover, %" for level in LEVELS)):
            shown.add_column(f"{engine.upper()}: {head}", justify="right")
    for quantity in result["nuts"]["quantities"]:
        cells = []
        for engine in result.values():
            own = engine["quantities"][quantity]
            p = "< 0.001" if own["p"] < 1e-3 else f"{own['p']:.3f}"
            cells += [p, *(f"{100 * own['coverage'][level]:.1f}" for level in LEVELS)]
        shown.add_row(quantity, *cells)
    means = [f"{100 * mean_coverage(own, level):.1f}" for own in result.values() for level in LEVELS]
    shown.add_row("mean", "", *means[:2], "", *means[2:], style="bold")
    return shown


def mean_coverage(result: dict[str, Any], level: str) -> float:
    """Of all quantities."""
    return float(np.mean([own["coverage"][level] for own in result["quantities"].values()]))


def picture(result: dict[str, dict[str, Any]]) -> Figure:
    """Cumulative shares of ranks less uniform ones; a line that leaves the grey band is miscalibrated."""
    figure = blank_figure(9.0, 4.2)
    panels = figure.subplots(1, 2, sharey=True)
    x = np.arange(1, DRAWS + 1) / (DRAWS + 1)
    for axes, (engine, own) in zip(panels, result.items(), strict=True):
        despine(axes)
        low, high = next(iter(own["quantities"].values()))["band"]
        axes.fill_between(x, low, high, color="#d9d9d9", lw=0, label="calibrated")
        for i, (quantity, found) in enumerate(own["quantities"].items()):
            axes.plot(x, found["difference"], color=COLOURS[i], ls=DASHES[i], lw=1.8, label=quantity)
        axes.set_title(f"{NAMES[engine]}, {own['sets']} data sets", fontsize=11)
        axes.set_xlabel("rank of the truth among posterior draws")
        axes.set_xticks([0, 0.5, 1], ["lowest", "middle", "highest"])
    panels[0].set_ylabel("share of ranks below,\nless what is expected")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=5)
    nuts, vb = (f"{100 * mean_coverage(own, '90'):.0f}" for own in result.values())
    return set_title_and_caption(
        figure,
        f"90 % intervals of NUTS cover {nuts} %, of variational Bayes {vb} %",
        "Cumulative shares of the rank of the truth among posterior draws, less uniform ones; 95 % band.",
    )


def main(arguments: list[str] | None = None) -> int:
    """Simulate, print, write JSON and a picture; 1 if NUTS is miscalibrated."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("--sets", type=int, default=100, help="simulated data sets for NUTS (default 100)")
    parser.add_argument("--vb-sets", type=int, default=1000, help="and for variational Bayes (default 1000)")
    options = parser.parse_args(arguments)
    console = Console(width=max(100, Console().width))
    torch.set_num_threads(1)
    with threadpool_limits(1):
        about = machine(1)
        console.print(about["text"])
        result = {"nuts": study("nuts", options.sets), "vb": study("vb", options.vb_sets)}
    console.print(table(result))
    nuts, vb = result["nuts"], result["vb"]
    console.print(
        f"NUTS, {nuts['seconds']:.0f} s: a chain of {DRAWS * THIN} draws is worth {nuts['effective']:.0f} independent "
        f"ones (median), of which {DRAWS} are taken; R-hat at most 1.05 in {100 * nuts['converged']:.0f} %. "
        f"Variational Bayes, {vb['seconds']:.0f} s"
    )
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": about, "result": result}, indent=1) + "\n")
    picture(result).savefig(PICTURE, dpi=100)
    console.print(f"written to {os.path.relpath(RESULTS)} and {os.path.relpath(PICTURE)}")
    tests = [own["p"] for own in nuts["quantities"].values()]
    p = min(1.0, min(tests) * len(tests))
    fine = p >= LEAST
    console.print(
        f"headline: NUTS is {'calibrated' if fine else 'MISCALIBRATED'}: p = {p:.3f}, of {len(tests)} tests together; "
        f"its 90 % intervals cover {100 * mean_coverage(nuts, '90'):.1f} %, those of variational Bayes "
        f"{100 * mean_coverage(vb, '90'):.1f} %",
        style="green" if fine else "red",
    )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
