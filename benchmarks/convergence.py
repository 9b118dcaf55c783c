"""From one start to a common log-likelihood, against scikit-learn; and fifty restarts of Old Faithful, start to end."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Sklearn

from benchmarks.gaussian import SKLEARN, data
from benchmarks.rows import Row, missing, shape, timed
from benchmarks.timing import interleaved
from lowerbound.datasets import load
from lowerbound.inference import EM, fit
from lowerbound.inference.fitting import restarts as restarts_module
from lowerbound.models import GaussianMixture, Mixture, seed

NEAR = 1e-6  # nats per row below the best of both: where the clock stops
MOST = 300  # passes in which the best is looked for
CASES: dict[str, tuple[Callable[[], np.ndarray], int]] = {  # rows, and components
    "Old Faithful": (lambda: load("faithful").to_numpy(), 2),
    "iris": (lambda: load_iris().data, 3),
    "simulated": (lambda: data(40_000, 4, 5), 5),
    "simulated, more columns": (lambda: data(20_000, 8, 8), 8),
}
RESTARTS, REQUIRED = 50, 5.0
SAME = 1e-6  # nats per row: how closely all sides must agree on the best of the restarts before anything is timed
THEIR_TOLS = tuple(10.0**-i for i in range(3, 13))


def our_fit(x: np.ndarray, start: Mixture, passes: int, accelerate: str | None = None) -> np.ndarray:
    """The bounds of so many passes from this start, nats per row."""
    engine = EM(tol=0.0, accelerate=accelerate)  # type: ignore[reportArgumentType]
    return fit(start, x, engine, max_passes=passes).bounds.numpy()


def their_fit(x: np.ndarray, start: Mixture, iterations: int) -> np.ndarray:
    """The bounds of so many iterations of scikit-learn's from this start, nats per row: each of before its M-step."""
    precision = torch.cholesky_inverse(start.family.scale_tril.detach()).numpy()  # type: ignore[reportArgumentType]
    model = Sklearn(
        n_components=len(start.weights),
        weights_init=start.weights.detach().numpy(),
        means_init=start.family.loc.detach().numpy(),  # type: ignore[reportAttributeAccessIssue]
        precisions_init=precision,
        reg_covar=0.0,
        tol=0.0,
        max_iter=iterations,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # with a tol of 0 it never does
        return np.array(model.fit(x).lower_bounds_)


def arrival(bounds: np.ndarray, level: float) -> int | None:
    """The number of the first bound that is at this level, from 1; None if none is."""
    there = np.flatnonzero(bounds >= level)
    return int(there[0]) + 1 if len(there) else None


def to_common(name: str) -> list[Row]:
    """From one start to within `NEAR` of the best log-likelihood of all, by `fit` here and there."""
    draw, k = CASES[name]
    x = draw()
    start = seed(GaussianMixture(k, x.shape[1]), x)
    runs = {
        "ours": our_fit(x, start, MOST),
        "ours, SQUAREM": our_fit(x, start, MOST, "squarem"),
        SKLEARN: their_fit(x, start, MOST),
    }
    best = max(runs["ours"].max(), runs[SKLEARN].max())
    passes = {side: arrival(bounds, best - NEAR) for side, bounds in runs.items()}
    what, of, theirs = f"to one log-likelihood, {name}", shape(*x.shape, k), passes.pop(SKLEARN)
    late = [side for side, number in passes.items() if number is None or theirs is None]
    sides: dict[str, Callable[[], object]] = {}
    if "ours" not in late:
        sides["ours"] = lambda: our_fit(x, start, passes["ours"])
    if "ours, SQUAREM" not in late:
        sides["ours, SQUAREM"] = lambda: our_fit(x, start, passes["ours, SQUAREM"], "squarem")
    if sides:  # their last E-step, of after the last M-step, is the one that gets there
        sides[SKLEARN] = lambda: their_fit(x, start, max(1, theirs - 1))
    seconds = interleaved(sides) if sides else {}
    rows = []
    for side, number in passes.items():
        label = what + side.removeprefix("ours")
        if side in late:
            note = f"one side is not within {NEAR:g} nats of the best after {MOST} passes, or in another optimum"
            rows.append(missing(label, of, SKLEARN, note))
        else:
            rows.append(timed(label, of, SKLEARN, seconds[side], seconds[SKLEARN], note=f"{number}, {theirs} passes"))
    return rows


def our_restarts(x: np.ndarray) -> float:
    """The best bound of all restarts, nats per row."""
    return float(fit(GaussianMixture(2, 2), x, EM(), restarts=RESTARTS).bounds[-1])


def our_restarts_in_turn(x: np.ndarray) -> float:
    """The same without the batch: one restart after the other."""
    inner, restarts_module.can_batch = restarts_module.can_batch, lambda task: False
    try:
        return our_restarts(x)
    finally:
        restarts_module.can_batch = inner


def their_restarts(x: np.ndarray, tol: float) -> float:
    """The best bound of scikit-learn's restarts, nats per row."""
    model = Sklearn(n_components=2, n_init=RESTARTS, tol=tol, max_iter=500, reg_covar=0.0, random_state=0).fit(x)
    return float(model.score(x))


def restarts() -> list[Row]:
    """All restarts by the public calls, each with its own starts and rule to stop; scikit-learn with the largest tol
    that ends as near to the top as ours, and with its default one. Raises ArithmeticError if they end in different
    optima."""
    x = load("faithful").to_numpy()
    top = float(fit(GaussianMixture(2, 2), x, EM(tol=0.0), max_passes=100).bounds[-1])
    gap, in_turn = top - our_restarts(x), top - our_restarts_in_turn(x)
    gaps = {tol: top - their_restarts(x, tol) for tol in THEIR_TOLS}
    # the largest of their tols that ends as near to the top as ours, but for rounding
    comparable = max((tol for tol in THEIR_TOLS if gaps[tol] <= max(gap, 1e-12)), default=THEIR_TOLS[-1])
    default = THEIR_TOLS[0]
    if not max(abs(gap), abs(in_turn), abs(gaps[comparable]), abs(gaps[default])) <= SAME:
        raise ArithmeticError(f"the best bounds end {gap:.2g}, {gaps[comparable]:.2g} nats per row from the top")
    same, rough = f"{SKLEARN}, tol={comparable:g}", f"{SKLEARN}, tol={default:g}"
    seconds = interleaved(
        {
            "ours": lambda: our_restarts(x),
            "in turn": lambda: our_restarts_in_turn(x),
            same: lambda: their_restarts(x, comparable),
            rough: lambda: their_restarts(x, default),
        }
    )
    what, of, own = f"{RESTARTS} restarts, Old Faithful", shape(*x.shape, 2), seconds["ours"]
    return [
        timed(what, of, same, own, seconds[same], REQUIRED, f"{gap:.1g} nats per row from the top"),
        timed(what, of, rough, own, seconds[rough], note=f"theirs {gaps[default]:.1g} nats per row from the top"),
        timed(what, of, "ours, in turn", own, seconds["in turn"]),
    ]


def results() -> list[Row]:
    """Each case to a common log-likelihood, then the restarts."""
    return [*(row for name in CASES for row in to_common(name)), *restarts()]
