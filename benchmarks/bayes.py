"""One pass of variational Bayes against one of scikit-learn's BayesianGaussianMixture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.mixture import BayesianGaussianMixture

from benchmarks.gaussian import data, ours
from benchmarks.rows import Row, shape, timed
from benchmarks.timing import interleaved
from lowerbound.models import BayesianMixture, Gaussian, NormalInverseWishart, seed

SHAPES = ((200_000, 8, 8), (100_000, 16, 16))  # rows, columns, components
SAME = 1e-8  # of the means, in units of the data: how closely both must agree after three passes
SKLEARN = "scikit-learn"


def sklearn(x: np.ndarray, model: BayesianMixture, prior: NormalInverseWishart) -> tuple[Callable[[], None], object]:
    """A function that runs one iteration from the hyperparameters of `model`, and what it changes."""
    other = BayesianGaussianMixture(
        n_components=len(model.weights),
        reg_covar=0.0,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=1.0,
        mean_precision_prior=prior.location_weight,
        mean_prior=np.asarray(prior.location),
        degrees_of_freedom_prior=float(prior.dof),
        covariance_prior=np.asarray(prior.scale),
    )
    other._check_parameters(x)
    beliefs, factor = model.beliefs, model.beliefs.likelihood.scale_tril.detach()
    other.weight_concentration_ = model.shares.concentration.detach().numpy().copy()
    other.mean_precision_ = beliefs.location_weight.detach().numpy().copy()
    other.means_ = beliefs.likelihood.loc.detach().numpy().copy()
    other.degrees_of_freedom_ = beliefs.dof.detach().numpy().copy()
    other.precisions_cholesky_ = torch.linalg.inv(factor).mT.numpy()
    log_shares = None

    def iteration() -> None:
        nonlocal log_shares
        if log_shares is not None:
            other._m_step(x, log_shares)
        log_shares = other._e_step(x)[1]

    return iteration, other


def compare(n: int, d: int, k: int) -> Row:
    """Both from one start. Raises ArithmeticError if their means are not the same after three passes."""
    x = data(n, d, k)
    prior = NormalInverseWishart(x.mean(0), 0.1, d + 2.0, np.cov(x.T))
    model = seed(BayesianMixture(Gaussian(k, d), prior), x)
    theirs, other = sklearn(x, model, prior)
    own = ours(x, model)
    for _ in range(3):
        own()
        theirs()
    apart = float(np.abs(model.family.loc.detach().numpy() - other.means_).max())  # type: ignore[reportAttributeAccessIssue]
    if not apart <= SAME:
        raise ArithmeticError(f"the means of {n} x {d}, {k} components are {apart:.2g} apart after three passes")
    seconds = interleaved({"ours": own, SKLEARN: theirs})
    return timed("variational Bayes, full", shape(n, d, k), SKLEARN, seconds["ours"], seconds[SKLEARN])


def results() -> list[Row]:
    """Each shape."""
    return [compare(*size) for size in SHAPES]
