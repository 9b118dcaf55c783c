"""Frozen parameters: the same bits under EM, SVI and restarts, and the best of the others beside them."""

import copy
from functools import reduce

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from families import TABLE
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats

from lowerbound.inference import EM, SVI, fit
from lowerbound.models import (
    GammaMixture,
    GaussianMixture,
    KMeans,
    NegativeBinomialMixture,
    NormalInverseWishart,
)
from lowerbound.models.kernels.special_functions import inverse_digamma

PAIRS = [
    (name, p)
    for name, case in TABLE.items()
    for p in ("weights", *case.parameters)
    if (p, case.hard) != ("weights", True)
]
each = pytest.mark.parametrize(("name", "parameter"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
KINKED = {("laplace", "weights"), ("laplace", "scale")}  # the density has no slope at a location on a row
STRUCTURES = ["full", "tied", "diag", "spherical", "tied-diag", "tied-spherical"]
X = np.random.default_rng(3).normal(np.repeat([[0.0, 5.0], [6.0, -2.0]], [40, 20], 0), [1.0, 1.5])


def path(parameter):
    return parameter if parameter == "weights" else f"family.{parameter}"


def value(model, name):
    return reduce(getattr, name.split("."), model).detach().clone()


def moved(case, parameter):
    """Another value than the one that the rows were drawn at."""
    old = np.array([0.5, 0.3, 0.2]) if parameter == "weights" else case.parameters[parameter]
    if parameter == "weights" or parameter.endswith("probs"):
        even = (old > 0) / (old > 0).sum(-1, keepdims=True) if old.shape[-1] != 5 else 0.5
        return 0.8 * old + 0.2 * even
    return old + 0.3 if parameter.endswith("loc") else 1.2 * old


def held(name, parameter):
    """A model with one parameter set, to another value, and frozen."""
    case, model = TABLE[name], TABLE[name].model()
    *inside, last = path(parameter).split(".")
    setattr(reduce(getattr, inside, model), last, torch.as_tensor(moved(case, parameter)))
    return model.freeze(path(parameter))


def same(model, other, name):
    """To the bit; a Cholesky factor, whose rows are measured anew in the units of the data, to rounding."""
    a, b = value(model, name), value(other, name)
    return torch.allclose(a, b, rtol=1e-14, atol=0) if name.endswith("scale_tril") else torch.equal(a, b)


def slope(model, x, weights=None, labels=None):
    """The steepest slope of the bound in the free unconstrained parameters, by autodiff of Pyro's own densities."""
    free = [p for p in model.parameters() if p.requires_grad]
    x = torch.as_tensor(x)
    joint = model.family.component().log_prob(x.unsqueeze(1)) + model.weights.log()
    if labels is not None:
        away = (labels[:, None] >= 0) & (labels[:, None] != np.arange(joint.shape[1]))
        joint = joint.masked_fill(torch.as_tensor(away), -torch.inf)
    local = joint.amax(1) if isinstance(model, KMeans) else torch.logsumexp(joint, 1)
    w = torch.ones(len(x)).double() if weights is None else torch.as_tensor(weights)
    gradient = torch.autograd.grad((local @ w + model.global_term()) / w.sum(), free, allow_unused=True)
    return max(
        float(torch.where(p.isinf(), 0.0, g).abs().max()) for p, g in zip(free, gradient, strict=True) if g is not None
    )


# every family, every parameter


@each
def test_em_leaves_it_and_finds_the_best_of_the_others(name, parameter):
    x, _ = TABLE[name].data(45)
    model = held(name, parameter)
    result = fit(model, x, EM(tol=1e-11), max_passes=800)
    assert same(result.model, model, path(parameter))
    assert result.bounds.diff().min() >= -1e-11 * (1 + result.bounds.abs().max())
    if (name, parameter) not in KINKED:
        assert slope(result.model, x) < 3e-5
        assert result.gradient_norm < 6e-5


@each
@pytest.mark.parametrize("elbo", ["sampled", "exact"])
def test_svi_leaves_it_and_moves_the_others(name, parameter, elbo):
    x, _ = TABLE[name].data(30)
    model = held(name, parameter)
    result = fit(model, x, SVI(elbo), restarts=1 if elbo == "sampled" else 2, max_passes=2)
    assert same(result.model, model, path(parameter))
    start = copy.deepcopy(model)
    start.initialize(x, None, torch.Generator().manual_seed(0))
    at = dict(start.named_parameters())
    for other, p in result.model.named_parameters():
        assert p.requires_grad == at[other].requires_grad
        assert not p.requires_grad or not torch.equal(p, at[other])


@pytest.mark.drawn(2)
@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("student-dof", "loc"),
        ("gamma", "rate"),
        ("gamma", "concentration"),
        ("negative-binomial", "mean"),
        ("weibull", "scale"),
    ],
)
def test_both_engines_reach_one_optimum(name, parameter):
    case = TABLE[name]
    x, _ = case.data(60)
    model = case.set(held(name, parameter), {p: v for p, v in case.parameters.items() if p != parameter})
    em, svi = fit(model, x, EM(), max_passes=2000), fit(model, x, SVI("exact"), max_passes=600)
    assert svi.bounds[-1] == pytest.approx(float(em.bounds[-1]), abs=2e-6)


# Gaussians, and others of two parameters: closed forms


@pytest.mark.parametrize("structure", STRUCTURES)
def test_one_gaussian_about_a_given_mean(structure):
    w = np.random.default_rng(0).uniform(0.2, 2.0, len(X))
    model = GaussianMixture(1, 2, structure)
    model.family.loc = [[1.5, -0.5]]
    away = X - [1.5, -0.5]
    about = (away * w[:, None]).T @ away / w.sum()
    found = fit(model.freeze("loc"), X, EM(), weights=w).model
    expected = {"full": about, "diag": np.diag(np.diag(about)), "spherical": np.eye(2) * np.trace(about) / 2}
    expected = expected[structure.removeprefix("tied-").replace("tied", "full")]
    np.testing.assert_allclose(found.family.moments().covariance[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_one_gaussian_of_a_given_covariance(structure):
    model = GaussianMixture(1, 2, structure)
    name = model.family.shape.name
    setattr(model.family, name, 3 * getattr(model.family, name).detach())
    found = fit(model.freeze(name), X + 1e4, EM(), weights=np.arange(len(X)) + 0.5).model
    np.testing.assert_allclose(
        found.family.loc[0].detach(), np.average(X, 0, np.arange(len(X)) + 0.5) + 1e4, rtol=1e-14
    )
    assert same(found, model, f"family.{name}")


def test_the_mode_of_a_covariance_under_a_prior_about_a_given_mean():
    """Of N(loc; m, S / 2) InverseWishart(S; 7, L) prod N(x; loc, S): (L + scatter + 2 dd') / (7 + d + 2 + n)."""
    loc, m, scale = np.array([1.0, 1.0]), np.array([3.0, 0.0]), np.array([[2.0, 0.3], [0.3, 1.0]])
    model = GaussianMixture(1, 2, prior=NormalInverseWishart(m, 2.0, 7.0, scale))
    model.family.loc = loc[None]
    found = fit(model.freeze("family.loc"), X, EM()).model
    scatter = (X - loc).T @ (X - loc) + 2 * np.outer(loc - m, loc - m) + scale
    np.testing.assert_allclose(found.family.moments().covariance[0], scatter / (7 + 2 + 2 + len(X)), rtol=1e-12)


@pytest.mark.parametrize("prior", [None, "weak"])
@pytest.mark.parametrize("frozen", ["loc", "scale"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_no_slope_is_left_with_weights_labels_and_priors(structure, frozen, prior):
    weights = np.random.default_rng(1).uniform(0.0, 2.0, len(X))
    labels = np.where(np.arange(len(X)) % 4 == 0, np.repeat([0, 1], [40, 20]), -1)
    model = GaussianMixture(2, 2, structure, prior, concentration=None if prior is None else 2.0)
    name = frozen if frozen == "loc" else model.family.shape.name
    setattr(model.family, name, 1.5 * getattr(model.family, name).detach() + (0.4 if frozen == "loc" else 0.0))
    given = {"weights": weights, "labels": labels}
    result = fit(model.freeze(name), X, EM(tol=1e-13), restarts=2, max_passes=5000, **given)
    assert result.bounds.diff().min() >= -1e-11 * (1 + result.bounds.abs().max())
    assert slope(result.model, X, **given) < 2e-6
    assert same(result.model, model, f"family.{name}")


@pytest.mark.parametrize("prior", [None, {"concentration": dist.Gamma(3.0, 0.5), "rate": dist.Gamma(2.0, 1.5)}])
def test_one_gamma_of_a_given_rate_or_concentration(prior):
    x = np.random.default_rng(0).gamma(3.0, 2.0, (50, 1))
    model = GammaMixture(1, 1, prior)
    model.family.rate, model.family.concentration = [[0.7]], [[4.0]]
    a = float(value(fit(copy.deepcopy(model).freeze("rate"), x, EM()).model, "family.concentration"))
    b = float(value(fit(copy.deepcopy(model).freeze("concentration"), x, EM()).model, "family.rate"))

    def loss(a, b):
        log_prior = 0 if prior is None else stats.gamma.logpdf(a, 3, scale=2) + stats.gamma.logpdf(b, 2, scale=1 / 1.5)
        return -stats.gamma.logpdf(x, a, scale=1 / b).sum() - log_prior

    # a minimum is flat: known to the square root of rounding
    assert a == pytest.approx(optimize.minimize_scalar(loss, (1, 3), args=(0.7,), tol=1e-12).x, rel=1e-6)
    assert b == pytest.approx(optimize.minimize_scalar(lambda b: loss(4.0, b), (0.1, 1), tol=1e-12).x, rel=1e-6)


@pytest.mark.parametrize("mean", [1.5, 4.0, 30.0])
def test_one_negative_binomial_of_a_given_mean(mean):
    x = np.random.default_rng(0).negative_binomial(2, 0.3, (80, 1)).astype(float)
    model = NegativeBinomialMixture(1, 1)
    model.family.mean = [[mean]]
    result = fit(model.freeze("mean"), x, EM(tol=1e-13))

    def loss(log_c):
        c = np.exp(log_c)
        return -stats.nbinom.logpmf(x, c, c / (c + mean)).sum()

    best = optimize.minimize_scalar(loss, (0, 1), tol=1e-12)
    assert float(value(result.model, "family.concentration")) == pytest.approx(np.exp(best.x), rel=1e-5)


@given(st.floats(-6, 12).map(np.exp), st.sampled_from([0.0, 1e-3, 0.5, 40.0]))
def test_inverse_digamma(a, pull):
    """Against scipy's digamma there and back; its value loses 2e-16 of itself, the shape that over the slope."""
    wanted = special.digamma(a) - pull / a
    found = float(inverse_digamma(torch.tensor(wanted), pull))
    assert found == pytest.approx(a, rel=1e-12 * (1 + abs(wanted) / (a * special.polygamma(1, a) + pull / a)))
