"""What a user waits for: whole calls of `fit`, from the start to the reason to stop, beside scikit-learn's.

Each side draws its own starts and has its own rule to stop. scikit-learn runs with its defaults, and with a tolerance
of 1e-7 nats per row, which is what "converged" means elsewhere. Both log-likelihoods per row are printed with the time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Sklearn

from benchmarks.gaussian import SKLEARN
from benchmarks.rows import Row, missing, shape, timed
from benchmarks.timing import interleaved
from lowerbound.datasets import load
from lowerbound.inference import EM, Fit, fit
from lowerbound.models import CategoricalMixture, GaussianMixture, PoissonMixture

SIDES = {"defaults": {}, "tol=1e-7": {"tol": 1e-7, "max_iter": 10_000}}


@dataclass(frozen=True)
class Job:
    """A table, and the mixture that is fitted to it."""

    rows: Callable[[], np.ndarray]
    components: int
    covariance: str
    restarts: int


def overlapping(n: int, d: int, k: int, distance: float, seed: int = 0) -> np.ndarray:
    """Rows of k Gaussians whose means are N(0, distance^2) in each column, each with a covariance of its own."""
    rng = np.random.default_rng(seed)
    means, factors = rng.normal(0, distance, (k, d)), rng.normal(0, 0.4, (k, d, d)) + np.eye(d)
    z = rng.integers(0, k, n)
    return means[z] + np.einsum("nij,nj->ni", factors[z], rng.normal(size=(n, d)))


def standardised(x: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1."""
    return (x - x.mean(0)) / x.std(0)


JOBS = {
    "Old Faithful": Job(lambda: load("faithful").to_numpy(), 3, "full", 10),
    "iris": Job(lambda: load_iris().data, 3, "full", 10),
    "wine, standardised": Job(lambda: standardised(load_wine().data), 3, "tied", 10),
    "overlapping Gaussians": Job(lambda: overlapping(10_000, 8, 5, 0.35), 5, "full", 1),
    "separate Gaussians": Job(lambda: overlapping(100_000, 16, 8, 3.0), 8, "full", 1),
}


def ours(job: Job, x: np.ndarray, engine: EM) -> Fit:
    """Our fit of a job."""
    return fit(GaussianMixture(job.components, x.shape[1], job.covariance), x, engine, restarts=job.restarts)


def theirs(job: Job, x: np.ndarray, **settings) -> Sklearn:
    """scikit-learn's."""
    model = Sklearn(job.components, covariance_type=job.covariance, n_init=job.restarts, random_state=0, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x)


def results() -> list[Row]:
    """Each job against scikit-learn's defaults and against an equal convergence; then two jobs of ours alone."""
    found = []
    for name, job in JOBS.items():
        x = job.rows()
        sides: dict[str, Callable[[], object]] = {"ours": lambda job=job, x=x: ours(job, x, EM())}
        sides |= {side: lambda job=job, x=x, how=how: theirs(job, x, **how) for side, how in SIDES.items()}
        seconds = interleaved(sides)
        fitted = ours(job, x, EM())
        of = f"{shape(*x.shape, job.components)} {job.covariance}, {job.restarts} starts"
        for side, how in SIDES.items():
            note = (
                f"{float(fitted.bounds[-1]):.4f} in {len(fitted.bounds)} passes against "
                f"{theirs(job, x, **how).score(x):.4f} nats per row"
            )
            found.append(timed(f"fit, {name}", of, f"{SKLEARN}, {side}", seconds["ours"], seconds[side], note=note))
    for name, model, x in (
        ("deaths, Poisson", PoissonMixture(2, 1), load("deaths")),
        ("carcinoma, classes", CategoricalMixture(3, [2] * 7), load("carcinoma")),
    ):
        seconds = interleaved({"ours": lambda model=model, x=x: fit(model, x, EM(), restarts=10)})["ours"]
        fitted = fit(model, x, EM(), restarts=10)
        note = (
            f"{float(np.median(seconds)):.3f} s, {len(fitted.bounds)} passes to {float(fitted.bounds[-1]):.6f} "
            f"nats per row, {'converged' if fitted.converged else 'not converged'}"
        )
        found.append(missing(f"fit, {name}", f"{len(x):,} rows, 10 starts", "", note))
    return found
