"""PPCA as one Gaussian of (z, x), in numpy."""

import numpy as np
from scipy import stats

from lowerbound.models import PPCA, seed


def random_ppca(d, q, draw=0, x=None):
    """A PPCA with random parameters in the units of x, or of 1; far from any optimum."""
    rng = np.random.default_rng(draw)
    model = PPCA(d, q) if x is None else seed(PPCA(d, q), x)
    unit = 1 if x is None else np.sqrt(x.var(0).mean())
    model.loc = (0 if x is None else x.mean(0)) + unit * rng.standard_normal(d)
    model.loading = unit * rng.standard_normal((d, q))
    model.scale = unit * np.exp(0.3 * rng.standard_normal())
    return model


def parameters_of(model):
    return tuple(p.detach().numpy() for p in (model.loc, model.loading, model.scale))


def covariance_of(model):
    _, loading, scale = parameters_of(model)
    return loading @ loading.T + scale**2 * np.eye(len(loading))


def log_density(model, x):
    return stats.multivariate_normal(parameters_of(model)[0], covariance_of(model)).logpdf(x)


def conditioned(model, x):
    """Mean (n, q) and covariance (q, q) of z given x, from the joint covariance of (z, x) by the Schur complement."""
    loc, loading, _ = parameters_of(model)
    gain = np.linalg.solve(covariance_of(model), loading).T
    return (x - loc) @ gain.T, np.eye(loading.shape[1]) - gain @ loading
