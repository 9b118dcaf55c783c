"""Oracles: what a Gaussian mixture means, written out slowly with numpy and scipy, sharing no code with the library."""

import errno
import os

import numpy as np
import pyro.distributions as dist
import torch
from pyro.nn import PyroParam
from scipy import stats
from scipy.special import logsumexp
from torch.distributions import constraints

from lowerbound.models import Family, GaussianMixture, NormalInverseWishart, seed

COVARIANCES = ("full", "tied", "diag", "spherical", "tied-diag", "tied-spherical")
PRIORS = (None, "weak", "explicit")


def is_tied(covariance):
    return covariance.startswith("tied")


def shape_of(covariance):
    """ "full", "diag" or "spherical": the shape of one covariance matrix."""
    return {"tied": "full"}.get(covariance, covariance.removeprefix("tied-"))


def data(n=60, d=3, seed=0):
    """n rows around three centres, columns of different units and some correlation."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.standard_normal((3, d))
    mixing = np.eye(d) + 0.3 * rng.standard_normal((d, d))
    rows = centres[rng.integers(3, size=n)] + rng.standard_normal((n, d)) @ mixing.T
    return rows * 10.0 ** np.arange(d) + np.arange(1, d + 1)


def explicit_prior(covariance, d, x=None):
    """A NormalInverseWishart with unequal entries everywhere, in the units of `data`."""
    spread = 10.0 ** np.arange(d) if x is None else x.std(0)
    location = 0.3 * spread * np.arange(1, d + 1)
    matrix = (np.eye(d) + 0.2) * np.outer(spread, spread)
    scale = {"full": matrix, "diag": matrix.diagonal().copy(), "spherical": 2.5}[shape_of(covariance)]
    return NormalInverseWishart(location, 0.7, d + 3.5, scale)


def new_mixture(covariance, k=3, d=3, prior=None, concentration=None):
    return GaussianMixture(
        k, d, covariance, explicit_prior(covariance, d) if prior == "explicit" else prior, concentration
    )


def set_parameters(model, weights, loc, covariances):
    """Give the model these parameters: covariances (k, d, d), or (d, d) where they are tied."""
    family = model.family
    d = family.loc.shape[-1]
    model.weights = torch.as_tensor(np.asarray(weights, dtype=float))
    family.loc = torch.as_tensor(np.asarray(loc, dtype=float))
    covariances = np.asarray(covariances, dtype=float)
    shape = shape_of(family.covariance)
    if shape == "full":
        family.scale_tril = torch.as_tensor(np.linalg.cholesky(covariances))
    elif shape == "diag":
        family.scale = torch.as_tensor(np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1)))
    else:
        family.scale = torch.as_tensor(np.sqrt(np.trace(covariances, axis1=-2, axis2=-1) / d))
    return model


def random_mixture(covariance, x, k=3, prior=None, concentration=None, draw=0):
    """A mixture whose parameters are set, no two alike and none at an optimum, anchored to x."""
    rng = np.random.default_rng(100 + draw)
    d = x.shape[1]
    model = new_mixture(covariance, k, d, prior, concentration)
    spread = x.std(0)
    factors = 0.5 * np.eye(d) + 0.2 * rng.standard_normal((k, d, d))
    covariances = (factors @ factors.transpose(0, 2, 1) + 0.05 * np.eye(d)) * np.outer(spread, spread)
    set_parameters(
        model,
        rng.dirichlet(np.full(k, 5.0)),
        x[rng.choice(len(x), k, replace=False)] + 0.1 * spread * rng.standard_normal((k, d)),
        covariances[0] if is_tied(covariance) else covariances,
    )
    model.initialize(x, None, torch.Generator().manual_seed(0), redraw=False)
    return model


def covariances_of(model):
    """(k, d, d) covariance matrices, from the parameters a user sees."""
    family = model.family
    k, d = family.loc.shape
    shape = shape_of(family.covariance)
    if shape == "full":
        factor = family.scale_tril.detach().numpy()
        matrices = factor @ np.swapaxes(factor, -1, -2)
    elif shape == "diag":
        matrices = np.square(family.scale.detach().numpy())[..., None] * np.eye(d)
    else:
        matrices = np.square(family.scale.detach().numpy())[..., None, None] * np.eye(d)
    return np.broadcast_to(matrices, (k, d, d))


def parameters_of(model, order=None):
    """weights (k,), means (k, d) and covariances (k, d, d) as numpy, in canonical order."""
    order = model.canonical_order().numpy() if order is None else order
    return (
        model.weights.detach().numpy()[order],
        model.family.loc.detach().numpy()[order],
        covariances_of(model)[order],
    )


def log_joint(model, x, labels=None):
    """log p(x, z = k), (n, k), one scipy density at a time; -inf where a label says otherwise."""
    weights, means = model.weights.detach().numpy(), model.family.loc.detach().numpy()
    columns = [
        np.log(w) + np.atleast_1d(stats.multivariate_normal(m, c).logpdf(x))
        for w, m, c in zip(weights, means, covariances_of(model), strict=True)
    ]
    joint = np.stack(columns, -1)
    if labels is not None:
        z = np.arange(joint.shape[1])
        joint = np.where((labels[:, None] < 0) | (labels[:, None] == z), joint, -np.inf)
    return joint


def log_evidence(model, x, labels=None):
    """log p(x), (n,), by summing out z."""
    return logsumexp(log_joint(model, x, labels), axis=1)


def responsibilities(model, x, labels=None):
    joint = log_joint(model, x, labels)
    return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))


def log_prior(model, x):
    """log p(theta): scipy's densities, a tied covariance counted once, Dirichlet of the weights included."""
    family = model.family
    k = len(family.loc)
    total = 0.0
    if model.concentration is not None:
        total += stats.dirichlet.logpdf(model.weights.detach().numpy(), np.full(k, model.concentration))
    if family.prior is None:
        return total
    prior = weak_prior(family.covariance, k, x) if family.prior == "weak" else family.prior
    matrices, shape = covariances_of(model), shape_of(family.covariance)
    for j in range(k):
        mean = stats.multivariate_normal(prior.location, matrices[j] / prior.location_weight)
        total += mean.logpdf(family.loc[j].detach().numpy())
    for j in range(1 if is_tied(family.covariance) else k):
        if shape == "full":
            total += stats.invwishart(prior.dof, prior.scale).logpdf(matrices[j])
        elif shape == "diag":
            scale = np.asarray(prior.scale) / 2
            total += stats.invgamma(prior.dof / 2, scale=scale).logpdf(matrices[j].diagonal()).sum()
        else:
            total += stats.invgamma(prior.dof / 2, scale=prior.scale / 2).logpdf(matrices[j, 0, 0])
    return total


def weak_prior(covariance, k, x):
    """Fraley & Raftery (2007), section 3: kappa = .01, nu = d + 2, scale = data covariance / k^(2 / d)."""
    d = x.shape[1]
    matrix = np.cov(x.T, bias=True).reshape(d, d) / k ** (2 / d)
    scale = {"full": matrix, "diag": matrix.diagonal(), "spherical": matrix.diagonal().mean()}[shape_of(covariance)]
    return NormalInverseWishart(x.mean(0), 0.01, d + 2.0, scale)


def weighted_moments(x, responsibilities, covariance):
    """The M-step of maximum likelihood as every textbook has it: weights, means, covariances (k, d, d)."""
    weight = responsibilities.sum(0)
    means = responsibilities.T @ x / weight[:, None]
    matrices = np.stack(
        [((x - m) * r[:, None]).T @ (x - m) / w for m, r, w in zip(means, responsibilities.T, weight, strict=True)]
    )
    if is_tied(covariance):
        matrices = np.broadcast_to(np.einsum("k,kij->ij", weight / weight.sum(), matrices), matrices.shape)
    d = x.shape[1]
    if shape_of(covariance) == "diag":
        matrices = matrices * np.eye(d)
    elif shape_of(covariance) == "spherical":
        matrices = np.trace(matrices, axis1=1, axis2=2)[:, None, None] / d * np.eye(d)
    return weight / weight.sum(), means, matrices


def start(covariance, x, k=3, seed_=0, **settings):
    """A mixture seeded from x: the start that `fit` would draw."""
    return seed(new_mixture(covariance, k, x.shape[1], **settings), x, seed_)


def full_disk(*_):
    """What a write to a full disk raises, in place of os.fsync."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def bits(model):
    """Everything a model holds, as bytes: equal bytes are equal bits."""
    return {name: tensor.detach().numpy().tobytes() for name, tensor in model.state_dict().items()}


def linear_pass(x, weights, labels, centre, own, shared, coefficients, common, log_weights):
    """`CompiledLinearPass.sum` of one copy: weights (k,), totals (k, p), sums that components share (q,), bound."""
    y = np.column_stack([np.ones(len(x)), x - centre])
    t, c = (y[:, list(one)] * y[:, list(other)] for one, other in (own, shared))
    joint = t @ coefficients.T + log_weights
    if labels is not None:
        joint[(labels >= 0)[:, None] & (labels[:, None] != np.arange(joint.shape[1]))] = -np.inf
    evidence = logsumexp(joint, axis=1)
    w = np.ones(len(x)) if weights is None else weights
    r = np.exp(joint - evidence[:, None]) * w[:, None]
    return r.sum(0), r.T @ t, w @ c, w @ (evidence + c @ common)


def nearest_centres(x, weights, labels, centres):
    """k-means' assignment, distance by distance: clusters, squared distances (n,), weights and sums of each cluster."""
    squared = np.square(x[:, None] - centres).sum(-1)
    cluster = squared.argmin(1)
    if labels is not None:
        cluster = np.where(labels >= 0, labels, cluster)
    w, away = np.ones(len(x)) if weights is None else weights, x - centres[cluster]
    hit = (cluster[:, None] == np.arange(len(centres))) * w[:, None]
    return cluster, np.square(away).sum(1), hit.sum(0), hit.T @ away


class Poisson(Family):
    """Independent counts: the dozen lines that a user writes (with a constraint made for the occasion)."""

    def __init__(self, components, features):
        super().__init__()
        rate = torch.ones(components, features, dtype=torch.float64)
        self.rate = PyroParam(rate, constraints.independent(constraints.positive, 2))

    def component(self, z=...):
        return dist.Poisson(self.rate[z]).to_event(1)

    def statistics(self, x):
        return x

    def match(self, mean):
        self.rate = mean


def repeated(draw=2, n=20):
    """20 rows of which three are the same: a component may shrink onto them, or not."""
    x = np.random.default_rng(draw).standard_normal((n, 2))
    x[:3] = x[0]
    return x
