"""One EM pass of a Gaussian mixture against one of scikit-learn, of pomegranate, and of a loop written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import torch
from sklearn.mixture import GaussianMixture as Sklearn

from benchmarks import by_hand
from benchmarks.rows import Row, averaged, missing, shape, timed
from benchmarks.timing import interleaved
from lowerbound.inference.engines.data_bound import expectation
from lowerbound.models import GaussianMixture, Mixture, Rows, seed

FULL = ((200_000, 2, 3), (200_000, 8, 8), (200_000, 16, 16), (100_000, 32, 32), (50_000, 64, 16))
OTHERS = ((200_000, 16, 16),)  # rows, columns, components
TARGETS = {"diag": 4.0, "spherical": 7.0, "tied": 25.0}
MEAN, EACH = 8.0, 2.5  # times as fast as scikit-learn: the geometric mean of `FULL`, and each of them
MEAN_FLOAT32 = 12.0
SAME = 1e-9  # nats per row: how closely two bounds must agree before anything is timed
SAME_FLOAT32 = 1e-3
OURS, OURS_FLOAT32, SKLEARN, HAND, POMEGRANATE = "ours", "ours, float32", "scikit-learn", "torch by hand", "pomegranate"

Pass = Callable[[], float]


def data(n: int, d: int, k: int) -> np.ndarray:
    """n rows of k overlapping Gaussians in d columns, each with its own full covariance."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(k, d, d)) / d**0.5
    z = rng.integers(k, size=n)
    x = rng.normal(scale=1.5, size=(k, d))[z] + rng.normal(size=(n, d)) * 0.5
    for j in range(k):
        x[z == j] += rng.normal(size=(int((z == j).sum()), d)) @ mixing[j]
    return x


def start(n: int, d: int, k: int, covariance: str, x: np.ndarray) -> Mixture:
    """A mixture at the components that `data` were drawn from: no run from there shrinks onto a few rows."""
    rng = np.random.default_rng(0)
    rng.normal(size=(k, d, d))
    model = seed(GaussianMixture(k, d, covariance), x)
    model.maximize(model.expect(x, labels=rng.integers(k, size=n)))
    return model


def ours(x: np.ndarray, model: Mixture, dtype: torch.dtype | None = None) -> Pass:
    """A function that runs one pass of EM, as `fit` does, and returns its bound. dtype: what its E-step computes in."""
    rows = Rows(x)
    _ = rows.moments  # as `fit` does first: all rows are looked at once, and not again
    statistics = None

    def one_pass() -> float:  # M-step, then E-step; the first time the E-step alone
        nonlocal statistics
        if statistics is not None:
            model.maximize(statistics)
        statistics, bound = expectation(model, rows, dtype)
        return float(bound)

    return one_pass


def sklearn(x: np.ndarray, model: Mixture, covariance: str) -> Pass:
    """A function that runs one iteration of scikit-learn from the parameters of `model` and returns its bound."""
    mixture = Sklearn(n_components=len(model.weights), covariance_type=covariance, reg_covar=0.0)
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


def pomegranate(x: np.ndarray, model: Mixture) -> Pass:
    """A function that runs one iteration of pomegranate, as its `fit` repeats them, and returns its bound."""
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    loc, factor = model.family.loc.detach(), model.family.scale_tril.detach()
    members = [Normal(mean, f @ f.mT) for mean, f in zip(loc, factor, strict=True)]
    mixture = GeneralMixtureModel(members, priors=model.weights.detach())
    rows, begun = torch.as_tensor(x), False

    def iteration() -> float:
        nonlocal begun
        if begun:
            mixture.from_summaries()
        begun = True
        return float(mixture.summarize(rows).sum()) / len(rows)

    return iteration


def opponents(x: np.ndarray, model: Mixture, covariance: str) -> dict[str, Pass]:
    """By name, a pass of each opponent from the parameters of `model`: of full covariances all that are installed."""
    found = {SKLEARN: sklearn(x, model, covariance)}
    if covariance == "full":
        parameters = (t.detach().clone() for t in (model.weights, model.family.loc, model.family.scale_tril))
        found[HAND] = by_hand.em(torch.as_tensor(x), *parameters)
        if find_spec("pomegranate") is not None:
            found[POMEGRANATE] = pomegranate(x, model)
    return found


def require_agreement(passes: dict[str, Pass], allowed: dict[str, float]) -> None:
    """Two passes of each, the second after an M-step. Raises ArithmeticError if a bound is not ours to so many nats
    per row."""
    for number in range(2):
        bounds = {name: one_pass() for name, one_pass in passes.items()}
        for name, bound in bounds.items():
            if not abs(bound - bounds[OURS]) <= allowed.get(name, SAME):
                raise ArithmeticError(
                    f"pass {number + 1}: the bound of {name} is {bound!r}, ours {bounds[OURS]!r} nats per row"
                )


def compare(n: int, d: int, k: int, covariance: str, target: float | None) -> list[Row]:
    """A row for each opponent, and one for ours in float32 if there is such a thing."""
    x = data(n, d, k)
    model = start(n, d, k, covariance, x)
    passes = opponents(x, model, covariance)
    if covariance == "full":
        passes[OURS_FLOAT32] = ours(x, start(n, d, k, covariance, x), torch.float32)
    passes[OURS] = ours(x, model)
    require_agreement(passes, {OURS_FLOAT32: SAME_FLOAT32, POMEGRANATE: 1e-6})
    seconds = interleaved(passes)
    own, own_float32 = seconds.pop(OURS), seconds.pop(OURS_FLOAT32, None)
    rows = [
        timed(covariance, shape(n, d, k), name, own, theirs, target if name == SKLEARN else None)
        for name, theirs in seconds.items()
    ]
    if own_float32:
        rows.append(timed(f"{covariance}, float32", shape(n, d, k), SKLEARN, own_float32, seconds[SKLEARN]))
    return rows


def results() -> list[Row]:
    """Full covariances in every shape and their geometric mean, then the other structures."""
    rows = [row for size in FULL for row in compare(*size, "full", EACH)]
    double = [row for row in rows if row.opponent == SKLEARN and row.what == "full"]
    single = [replace(row, note="theirs in float64") for row in rows if row.what == "full, float32"]
    rows = [row for row in rows if row.what == "full"]
    rows.append(averaged("full", double, MEAN))
    if find_spec("pomegranate") is None:
        rows.append(missing("full", "all shapes", POMEGRANATE, "not installed"))
    if single:
        rows += [*single, averaged("full, float32", single, MEAN_FLOAT32)]
    else:
        why = "EM has no option for the precision it computes in"
        rows.append(missing("full, float32", "all shapes", SKLEARN, why, MEAN_FLOAT32))
    rows += [row for size in OTHERS for name, target in TARGETS.items() for row in compare(*size, name, target)]
    return rows
