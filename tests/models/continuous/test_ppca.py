"""Probabilistic PCA: published figures, scikit-learn, Gaussian conditioning by hand, and EM and SVI to the same top."""

import math

import numpy as np
import pyro
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ppca_oracles import conditioned, covariance_of, log_density, parameters_of, random_ppca
from pyro.infer import Trace_ELBO
from reference import data
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA

from lowerbound import datasets
from lowerbound.inference import kl
from lowerbound.models import PPCA, Draws, LatentModel, SupportsEM

X = data(n=50, d=4)
WEIGHTS = np.random.default_rng(1).integers(0, 4, len(X)).astype(float)  # some of them zero
DIGITS = load_digits().data
IRIS = load_iris().data
SHAPES = [(2, 1), (4, 1), (4, 2), (4, 3)]
seeds = st.integers(0, 10**6)
shapes = pytest.mark.parametrize(("d", "q"), SHAPES)


# oracles: the model as one Gaussian of (z, x), in numpy


def mean_bound(model, x):
    return model.bound(x).mean().item()


# published figures, and another library


@pytest.mark.parametrize(
    ("q", "figure"), [(2, -177.439971), (5, -168.538042), (10, -159.993731), (20, -150.168378), (30, -143.253317)]
)
def test_digits_reach_the_figure_of_the_closed_form(q, figure):
    assert mean_bound(PPCA.closed_form(DIGITS, q), DIGITS) == pytest.approx(figure, abs=1e-6)


def test_digits_between_0_and_1():
    """The optimum of a linear VAE (Lucas et al. 2019), with the two parts of its ELBO."""
    x = DIGITS / 16
    model = PPCA.closed_form(x, 10)
    assert mean_bound(model, x) == pytest.approx(17.451947, abs=1e-6)
    assert model.scale.item() ** 2 == pytest.approx(0.022751, abs=1e-6)
    # E_q[log p(x | z)] by hand: what the mean leaves, and what the spread of z adds
    loc, loading, scale = parameters_of(model)
    mean, spread = conditioned(model, x)
    error = ((x - loc - mean @ loading.T) ** 2).sum(1) + np.trace(loading @ spread @ loading.T)
    reconstruction = -error / (2 * scale**2) - 64 / 2 * np.log(2 * np.pi * scale**2)
    assert reconstruction.mean() == pytest.approx(30.2481, abs=1e-4)
    prior = torch.distributions.MultivariateNormal(torch.zeros(10).double(), torch.eye(10).double())
    assert kl(model.posterior(x), prior).mean().item() == pytest.approx(12.7961, abs=1e-4)


@pytest.mark.parametrize(("q", "figure"), [(1, -3.137796), (2, -2.699752), (3, -2.532764)])
def test_iris_reaches_the_figure_of_the_closed_form(q, figure):
    x = datasets.load("iris")
    assert mean_bound(PPCA.closed_form(x, q), x) == pytest.approx(figure, abs=1e-6)


def test_one_direction_of_noise_is_the_full_gaussian():
    model = PPCA.closed_form(IRIS, 3)
    np.testing.assert_allclose(covariance_of(model), np.cov(IRIS.T, bias=True), rtol=1e-12)
    np.testing.assert_allclose(parameters_of(model)[0], IRIS.mean(0), rtol=1e-14)
    assert mean_bound(model, IRIS) * 150 == pytest.approx(-379.9146, abs=1e-4)  # mclust, K = 1


@pytest.mark.parametrize("q", [1, 2, 3])
@pytest.mark.parametrize("x", [IRIS, X], ids=["iris", "data"])
def test_the_closed_form_is_that_of_scikit_learn(x, q):
    """Which divides by n - 1: its noise variance is n / (n - 1) of ours, and it agrees on our rows twice over."""
    n = len(x)
    ours, theirs = PPCA.closed_form(x, q), PCA(q).fit(x)
    loc, loading, scale = parameters_of(ours)
    assert scale**2 == pytest.approx(theirs.noise_variance_ * (n - 1) / n, rel=1e-10)
    lengths = np.linalg.norm(loading, axis=0)
    assert (np.diff(lengths) <= 0).all()
    np.testing.assert_allclose(
        lengths**2, theirs.explained_variance_ * (n - 1) / n - scale**2, rtol=1e-9, atol=1e-12 * lengths.max() ** 2
    )
    directions = loading / lengths
    assert (np.take_along_axis(directions, np.abs(directions).argmax(0)[None], 0) > 0).all()
    np.testing.assert_allclose(np.abs((directions * theirs.components_.T).sum(0)), 1, rtol=1e-10)
    np.testing.assert_allclose(loc, theirs.mean_, rtol=1e-12)
    # the same log density where scikit-learn is given our variances
    theirs.explained_variance_ *= (n - 1) / n
    theirs.noise_variance_ *= (n - 1) / n
    np.testing.assert_allclose(ours.bound(x), theirs.score_samples(x), rtol=1e-9)
    assert mean_bound(ours, x) == pytest.approx(theirs.score(x), rel=1e-11)


@shapes
def test_no_parameters_beat_the_closed_form(d, q):
    """Its gradient is zero, to the rounding of eigenvalues 2e6 apart; 20 random steps away lower the likelihood."""
    x = X[:, :d]
    model = PPCA.closed_form(x, q)
    gradient = torch.autograd.grad(model.objective(x).mean(), list(model.parameters()))
    assert max(g.abs().max() for g in gradient) < 1e-8
    top, unit = mean_bound(model, x), model.unit.item()
    rng = np.random.default_rng(0)
    loc, loading, scale = parameters_of(model)
    for _ in range(20):
        model.loc = loc + 0.01 * unit * rng.standard_normal(d)
        model.loading = loading + 0.01 * unit * rng.standard_normal((d, q))
        model.scale = scale * math.exp(0.01 * rng.standard_normal())
        assert mean_bound(model, x) < top


# the contract


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weights"])
@pytest.mark.parametrize("anchored", [True, False])
@shapes
def test_every_road_to_the_bound_arrives_at_scipys_density(d, q, anchored, weights):
    x = X[:, :d]
    model = random_ppca(d, q, x=x) if anchored else random_ppca(d, q)
    w = np.ones(len(x)) if weights is None else weights
    local = log_density(model, x)
    near = dict(rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(model.bound(x).numpy(), local, **near)
    np.testing.assert_allclose(model.objective(x).detach().numpy(), local, **near)
    np.testing.assert_allclose(model.evidence(x).numpy(), local, **near)
    assert model.global_term().item() == 0
    statistics = model.expect(x, weights)
    np.testing.assert_allclose(statistics.bound.item(), local @ w, **near)
    assert statistics.total_weight.item() == w.sum()
    for draw in range(3):  # whatever z is drawn, log p(x, z) - log q(z | x) is log p(x): no variance
        pyro.set_rng_seed(draw)
        np.testing.assert_allclose(-Trace_ELBO().loss(model.model, model.guide, x, weights), local @ w, **near)
    weights_of_draws = model.draws(x, 3).log_weights().detach()
    np.testing.assert_allclose(weights_of_draws, np.broadcast_to(local, (3, len(x))), **near)
    many = Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    np.testing.assert_allclose(-many.loss(model.model, model.guide, x, weights), local @ w, **near)


def test_a_minibatch_stands_for_all_rows():
    model = random_ppca(4, 2, x=X)
    for weights in (None, WEIGHTS):
        halves = []
        for part in (slice(0, 25), slice(25, 50)):
            given_weights = None if weights is None else weights[part]
            halves.append(-Trace_ELBO().loss(model.model, model.guide, X[part], given_weights, None, 50))
        whole = log_density(model, X) @ (np.ones(50) if weights is None else weights)
        np.testing.assert_allclose(np.mean(halves), whole, rtol=1e-11)


def test_it_keeps_both_contracts():
    assert isinstance(PPCA(3, 1), LatentModel)
    assert isinstance(PPCA(3, 1), SupportsEM)


@shapes
def test_the_posterior_is_a_gaussian_conditioned_on_x(d, q):
    x = X[:, :d]
    model = random_ppca(d, q, x=x)
    mean, covariance = conditioned(model, x)
    posterior = model.posterior(x)
    assert posterior.batch_shape == (len(x),)
    np.testing.assert_allclose(posterior.mean, mean, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(posterior.covariance_matrix, np.broadcast_to(covariance, (len(x), q, q)), atol=1e-10)
    np.testing.assert_allclose(model.transform(x), mean, rtol=1e-9, atol=1e-10)
    loc, loading, _ = parameters_of(model)
    np.testing.assert_allclose(model.reconstruct(x), loc + mean @ loading.T, rtol=1e-9, atol=1e-9)
    assert not any(p.requires_grad for p in (posterior.mean, posterior.covariance_matrix))


@given(seeds, st.sampled_from(SHAPES))
def test_the_gradient_of_the_objective_by_matrix_calculus(draw, shape):
    """d log p / d loc = C^-1 (x - loc), d / d loading = (C^-1 y y' C^-1 - C^-1) loading, d / d scale^2 by its trace."""
    d, q = shape
    model = random_ppca(d, q, draw)
    x = np.random.default_rng(draw).standard_normal((5, d))
    loc, loading, scale = parameters_of(model)
    inverse = np.linalg.inv(covariance_of(model))
    y = x - loc
    pull = inverse @ y.T @ y @ inverse - len(x) * inverse
    grads = torch.autograd.grad(model.objective(x).sum(), list(model.parameters()))
    by_name = dict(zip((name for name, _ in model.named_parameters()), grads, strict=True))
    near = dict(rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(by_name["loc_unconstrained"], (y @ inverse).sum(0), **near)
    np.testing.assert_allclose(by_name["loading_unconstrained"], pull @ loading, **near)
    # the scale is the exponential of its parameter: d scale^2 / du = 2 scale^2
    np.testing.assert_allclose(by_name["scale_unconstrained"], np.trace(pull) * scale**2, **near)


@given(seeds, st.sampled_from(SHAPES))
def test_the_mean_gradient_over_the_guide_is_that_of_log_p(draw, shape):
    """Exactly: log p(x | z) is quadratic in z, and the mean of a quadratic over a Gaussian is its mean over the 2 q
    points mean +- sqrt(q) times the columns of the Cholesky factor."""
    d, q = shape
    model = random_ppca(d, q, draw)
    x = torch.tensor(np.random.default_rng(draw).standard_normal((5, d)))
    guide = model.encode(x)
    columns = math.sqrt(q) * guide.scale_tril.mT.movedim(-2, 0)  # (q, n, q)
    z = torch.cat([guide.mean + columns, guide.mean - columns])
    draws = Draws(guide, z, model.decode(z).log_prob(x))
    parameters = list(model.parameters())
    exact = torch.autograd.grad(model.objective(x).sum(), parameters)
    for estimate in (draws.elbo().sum(), draws.log_weights().mean(0).sum()):
        assert estimate.item() == pytest.approx(model.bound(x).sum().item(), rel=1e-10)
        for a, b in zip(torch.autograd.grad(estimate, parameters, retain_graph=True), exact, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_the_mean_gradient_of_pyros_elbo_is_that_of_the_objective():
    """4 standard errors on 13 coordinates: a false alarm in 8e-4 of seeds, and the seed is fixed."""
    model = random_ppca(4, 2, x=X)
    parameters = list(model.parameters())

    def flat(value):
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)])

    exact = flat(model.objective(X).sum())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        draws = [-flat(Trace_ELBO().differentiable_loss(model.model, model.guide, X)) for _ in range(200)]
    draws = torch.stack(draws)
    assert (draws.std(0) > 0).any()
    assert ((draws.mean(0) - exact).abs() <= 4 * draws.std(0) / len(draws) ** 0.5).all()


@shapes
def test_free_parameters_by_hand(d, q):
    """The dimension of what the parameters can move C and loc to: the rank of the Jacobian, by autodiff."""
    model = random_ppca(d, q)

    def density(loc, loading, log_scale):
        return torch.cat([loc, (loading @ loading.T + torch.exp(2 * log_scale) * torch.eye(d)).flatten()])

    given_parameters = model.loc.detach(), model.loading.detach(), model.scale.detach().log()
    jacobian = torch.autograd.functional.jacobian(density, given_parameters)
    rank = torch.linalg.matrix_rank(torch.cat([part.reshape(d + d * d, -1) for part in jacobian], 1), rtol=1e-9)
    assert model.free_parameters() == rank
    assert PPCA(4, 3).free_parameters() == 4 + 10  # the full Gaussian
    assert PPCA(64, 10).free_parameters() == 64 + 640 - 45 + 1


@shapes
def test_rotate_turns_z_and_nothing_else(d, q):
    x = X[:, :d]
    model = random_ppca(d, q, x=x)
    before, covariance, reconstruction = model.bound(x), covariance_of(model), model.reconstruct(x)
    model.rotate()
    torch.testing.assert_close(model.bound(x), before, rtol=1e-12, atol=0)
    torch.testing.assert_close(model.reconstruct(x), reconstruction, rtol=1e-10, atol=0)
    np.testing.assert_allclose(covariance_of(model), covariance, rtol=1e-11, atol=1e-12 * covariance.max())
    loading = parameters_of(model)[1]
    gram = loading.T @ loading
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12 * gram.max())
    assert (np.diff(np.diag(gram)) <= 0).all()
    held = loading.copy()
    model.rotate()
    np.testing.assert_allclose(parameters_of(model)[1], held, rtol=1e-10, atol=1e-12 * np.abs(held).max())


def test_samples_have_the_moments_of_the_model():
    """5 standard errors on 4 means and 16 products: a false alarm in 1e-5 of seeds."""
    model = random_ppca(4, 2)
    n = 40_000
    state = torch.get_rng_state()
    x = model.sample(n, seed=5).numpy()
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(x, model.sample(n, seed=5))
    centred = x - parameters_of(model)[0]
    assert (np.abs(centred.mean(0)) < 5 * centred.std(0) / np.sqrt(n)).all()
    products = centred[:, :, None] * centred[:, None, :]
    assert (np.abs(products.mean(0) - covariance_of(model)) < 5 * products.std(0) / np.sqrt(n)).all()
    torch.manual_seed(3)
    first = model.sample(3)
    assert not torch.equal(model.sample(3), first)
    torch.manual_seed(3)
    assert torch.equal(model.sample(3), first)
