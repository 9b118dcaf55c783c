"""One EM pass of latent classes against StepMix."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import numpy as np

from benchmarks.gaussian import OURS, Pass, ours, require_agreement
from benchmarks.rows import Row, missing, shape, timed
from benchmarks.timing import interleaved
from lowerbound.models import CategoricalMixture, Mixture, seed

SHAPES = ((100_000, 20, 4, 5),)  # rows, columns, levels, components
REQUIRED = 10.0
STEPMIX = "StepMix"


def data(n: int, d: int, levels: int, k: int) -> np.ndarray:
    """n rows of d codes drawn from k classes."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(levels), size=(k, d))[rng.integers(k, size=n)]
    return (rng.random((n, d, 1)) > shares.cumsum(-1)).sum(-1).clip(max=levels - 1).astype(float)


def stepmix(x: np.ndarray, model: Mixture) -> Pass:
    """A function that runs one iteration of StepMix, as its `fit` repeats them, and returns its bound."""
    from stepmix.stepmix import StepMix

    k = len(model.weights)
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

    def iteration() -> float:
        nonlocal log_shares
        if log_shares is not None:
            other._m_step(codes, np.exp(log_shares))
        bound, log_shares = other._e_step(codes)
        return float(bound)

    return iteration


def compare(n: int, d: int, levels: int, k: int) -> Row:
    """Ours and StepMix's pass from one start."""
    of = f"{shape(n, d, k)}, {levels} levels"
    if find_spec("stepmix") is None:
        return missing("latent classes", of, STEPMIX, "not installed", REQUIRED)
    x = data(n, d, levels, k)
    model = seed(CategoricalMixture(k, [levels] * d), x)
    passes = {STEPMIX: stepmix(x, model), OURS: ours(x, model)}
    require_agreement(passes, {})
    seconds = interleaved(passes)
    return timed("latent classes", of, STEPMIX, seconds[OURS], seconds[STEPMIX], REQUIRED)


def results() -> list[Row]:
    """Each shape."""
    return [compare(*size) for size in SHAPES]
