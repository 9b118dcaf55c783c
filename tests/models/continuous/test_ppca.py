"""Probabilistic PCA: published figures, scikit-learn, Gaussian conditioning by hand, and EM and SVI to the same top."""

import math

import numpy as np
import pyro
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ppca_oracles import conditioned, covariance_of, log_density, parameters_of, random_ppca
from pyro.infer import SVI as PyroSVI
from pyro.infer import Trace_ELBO
from reference import bits, data
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA

from lowerbound import datasets
from lowerbound.inference import EM, SVI, fit, kl, load
from lowerbound.models import PPCA, Collapse, Draws, LatentModel, SupportsEM, seed

X = data(n=50, d=4)
EVEN = X / 10.0 ** np.arange(4)  # columns of like units: EM arrives in a few hundred passes, not in 100,000
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


# the two steps of EM


def brute_force_statistics(model, x, weights):
    """Sums about the origin of x, E[z], x E[z]', E[z z'] and x'x, one row after another."""
    mean, covariance = conditioned(model, x)
    total = 0
    for row, z, w in zip(x - model.origin.numpy(), mean, weights, strict=True):
        second = np.outer(z, z) + covariance
        total = total + w * np.concatenate([row, z, np.outer(row, z).ravel(), second.ravel(), [row @ row]])
    return total


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weights"])
@shapes
def test_statistics_are_the_documented_sums(d, q, weights):
    x = X[:, :d]
    model = random_ppca(d, q, x=x)
    w = np.ones(len(x)) if weights is None else weights
    statistics = model.expect(x, weights)
    expected = brute_force_statistics(model, x, w)
    assert statistics.total.shape == (1, len(expected))
    assert statistics.weight.tolist() == [w.sum()]
    np.testing.assert_allclose(statistics.total[0], expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max())


@given(seeds, st.lists(st.integers(1, 49), max_size=4, unique=True))
def test_statistics_add_over_chunks(draw, cuts):
    model = random_ppca(4, 2, draw, X)
    whole = model.expect(X, WEIGHTS)
    parts = zip(np.split(X, sorted(cuts)), np.split(WEIGHTS, sorted(cuts)), strict=True)
    first, *rest = [model.expect(*part) for part in parts]
    added = sum(rest, first)
    for name in ("weight", "total", "bound", "total_weight"):
        a, b = getattr(added, name), getattr(whole, name)
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11 * float(b.abs().max()))


@given(seeds)
def test_a_weight_is_so_many_repeated_rows(draw):
    weights = np.random.default_rng(draw).integers(0, 4, len(X))
    weights[0] = 1
    repeated = np.repeat(X, weights, axis=0)
    model = random_ppca(4, 2, draw, X)
    for a, b in (
        (model.expect(X, weights), model.expect(repeated)),
        (model.expect(X, 2.5 * weights), model.expect(repeated, np.full(len(repeated), 2.5))),
    ):
        for name in ("weight", "total", "bound", "total_weight"):
            value = getattr(b, name)
            torch.testing.assert_close(getattr(a, name), value, rtol=1e-11, atol=1e-11 * float(value.abs().max()))
    np.testing.assert_allclose(
        Trace_ELBO().loss(model.model, model.guide, X, weights), Trace_ELBO().loss(model.model, model.guide, repeated)
    )
    one, other = PPCA.closed_form(X, 2, weights), PPCA.closed_form(repeated, 2)
    for a, b in zip(parameters_of(one), parameters_of(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


@shapes
def test_the_m_step_goes_to_the_top_of_the_expected_log_likelihood(d, q):
    """sum of E_q[log p(x, z)], q at the parameters before, written out by hand: its gradient at those after is 0."""
    x = X[:, :d]
    model = random_ppca(d, q, x=x)
    mean, covariance = (torch.tensor(m) for m in conditioned(model, x))
    second = mean[:, :, None] * mean[:, None, :] + covariance
    y, w = torch.tensor(x), torch.tensor(WEIGHTS)

    def expected(loc, loading, log_scale):
        residual = (y - loc - mean @ loading.T).square().sum(1)
        spread = torch.einsum("ij,njk,ik->n", loading, second - mean[:, :, None] * mean[:, None, :], loading)
        return w @ (-0.5 * (residual + spread) * torch.exp(-2 * log_scale) - d * log_scale)

    def place():
        return [p.detach().clone().requires_grad_() for p in (model.loc, model.loading, model.scale.log())]

    before = place()
    model.maximize(model.expect(x, WEIGHTS))
    after = place()
    unit = model.unit.item()
    slopes = torch.autograd.grad(expected(*after), after)
    steep = torch.autograd.grad(expected(*before), before)
    for zero, size, scale in zip(slopes, steep, (unit, unit, 1), strict=True):
        assert zero.abs().max() * scale < 1e-8 * w.sum() < size.abs().max() * scale
    assert expected(*after) > expected(*before)


CASES = {"iris-1": (IRIS, 1), "iris-2": (IRIS, 2), "iris-3": (IRIS, 3), "data-1": (EVEN, 1), "data-2": (EVEN, 2)}


@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize(("x", "q"), CASES.values(), ids=CASES.keys())
def test_em_never_falls_and_ends_at_the_closed_form(x, q, start):
    result = fit(PPCA(4, q), x, EM(), seed=start, max_passes=5000)
    assert result.converged
    assert torch.diff(result.bounds).min() > -1e-11 * result.bounds.abs().max()
    exact = PPCA.closed_form(x, q)
    assert result.bounds[-1].item() == pytest.approx(mean_bound(exact, x), abs=1e-6)
    assert result.bounds[-1].item() == pytest.approx(mean_bound(result.model, x), abs=1e-11)


@pytest.mark.parametrize("start", [0, 1, 2])
def test_em_on_digits_reaches_the_figure(start):
    result = fit(PPCA(64, 5), DIGITS, EM(), seed=start)
    assert torch.diff(result.bounds).min() > 0
    assert result.bounds[-1].item() == pytest.approx(-168.538042, abs=1e-6 + 5e-7)


def test_em_with_weights_ends_at_the_weighted_closed_form():
    result = fit(PPCA(4, 2), EVEN, EM(), weights=WEIGHTS, max_passes=5000)
    exact = PPCA.closed_form(EVEN, 2, WEIGHTS)
    assert result.bounds[-1].item() == pytest.approx(log_density(exact, EVEN) @ WEIGHTS / WEIGHTS.sum(), abs=1e-6)


# precision


def test_an_offset_costs_only_the_rounding_of_the_input():
    """x + 1e8 is rounded to 1.5e-8, and less 1e8 again exact: both see the same numbers, but for the rounded mean."""
    far = IRIS + 1e8
    near = far - 1e8
    for make in (
        lambda x: PPCA.closed_form(x, 2),
        lambda x: fit(PPCA(4, 2), x, EM(tol=0), max_passes=30).model,
    ):
        a, b = make(near), make(far)
        (loc, loading, scale), (loc2, loading2, scale2) = parameters_of(a), parameters_of(b)
        np.testing.assert_allclose(loc2 - 1e8, loc, atol=1.5e-8)
        np.testing.assert_allclose(loading2, loading, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(scale2, scale, rtol=1e-7)
        np.testing.assert_allclose(b.bound(far), a.bound(near), rtol=1e-6, atol=1e-6)
    exact = PPCA.closed_form(IRIS, 2)  # and of the data as they were
    assert mean_bound(PPCA.closed_form(far, 2), far) == pytest.approx(mean_bound(exact, IRIS), abs=1e-6)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_units_cost_nothing(unit):
    for make in (
        lambda x: PPCA.closed_form(x, 2),
        lambda x: fit(PPCA(4, 2), x, EM(tol=0), max_passes=30).model,
    ):
        a, b = make(IRIS), make(IRIS * unit)
        for plain, scaled in zip(parameters_of(a), parameters_of(b), strict=True):
            np.testing.assert_allclose(scaled / unit, plain, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(b.bound(IRIS * unit) + 4 * math.log(unit), a.bound(IRIS), rtol=1e-9)


@pytest.mark.parametrize("engine", [SVI("exact", tol=0), SVI()], ids=["exact", "sampled"])
def test_units_cost_gradient_steps_nothing(engine):
    """Adam starts at the mean, where rounding alone gives it a direction, and makes that grow: to 1e-3 on the way."""
    for unit in (1e-6, 1e6):
        a, b = (fit(PPCA(4, 2), x, engine, max_passes=40) for x in (IRIS, IRIS * unit))
        torch.testing.assert_close(b.bounds + 4 * math.log(unit), a.bounds, rtol=0, atol=1e-3)
        for plain, scaled in zip(parameters_of(a.model), parameters_of(b.model), strict=True):
            np.testing.assert_allclose(scaled / unit, plain, atol=0.02)


def test_float32_rows_give_the_parameters_of_the_same_values_in_float64():
    narrow = IRIS.astype(np.float32)
    for make in (lambda x: PPCA.closed_form(x, 2), lambda x: fit(PPCA(4, 2), x, EM(tol=0), max_passes=30).model):
        for a, b in zip(parameters_of(make(narrow)), parameters_of(make(narrow.astype(float))), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


# gradient steps


def test_svi_in_closed_form_reaches_the_closed_form():
    for x, nats in ((IRIS, 0), (IRIS + 1e8, 0), (IRIS * 1e6, 4 * math.log(1e6))):
        result = fit(PPCA(4, 2), x, SVI("exact"), max_passes=1000)
        assert result.bounds[-1].item() + nats == pytest.approx(-2.699752, abs=1e-6)


@pytest.mark.parametrize(
    "settings",
    [{}, {"elbo": "analytic", "particles": 2}, {"elbo": "importance", "particles": 2}],
    ids=["sampled", "analytic", "importance"],
)
def test_svi_by_draws_comes_close_to_the_closed_form(settings):
    """To .01 nats per row in 300 passes, which the noise of a z or two for each of 150 rows leaves of a rate of .05."""
    result = fit(PPCA(4, 2), IRIS, SVI(**settings), max_passes=300)
    assert -2.699752 - 1e-2 < result.bounds[-1].item() < -2.699752 + 1e-6


def test_a_plain_pyro_loop_trains_it_and_leaves_nothing():
    model = seed(PPCA(4, 2), IRIS)
    step = PyroSVI(model.model, model.guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO()).step
    losses = [step(IRIS) for _ in range(60)]
    assert losses[-1] < losses[0]
    assert list(pyro.get_param_store().keys()) == []


# what is kept, and what is refused


def test_a_start_keeps_what_was_set():
    model = PPCA(4, 2)
    model.scale = 0.5
    model.initialize(X, None, torch.Generator().manual_seed(0), redraw=False)
    assert model.scale.item() == pytest.approx(0.5, rel=1e-14)
    np.testing.assert_allclose(parameters_of(model)[0], X.mean(0), rtol=1e-13)
    held = bits(model)
    model.initialize(X, None, torch.Generator().manual_seed(1), redraw=False)
    for (name, a), b in zip(model.state_dict().items(), held.values(), strict=True):
        np.testing.assert_allclose(a.numpy().ravel(), np.frombuffer(b), rtol=1e-13, err_msg=name)
    model.initialize(X, None, torch.Generator().manual_seed(1), redraw=True)
    assert model.scale.item() != pytest.approx(0.5)


def test_what_was_saved_comes_back_to_the_same_bits(tmp_path):
    x = datasets.load("iris")
    saved = fit(PPCA(4, 2), x, EM(), max_passes=9, seed=3)
    saved.save(tmp_path / "a")
    for back in (load(tmp_path / "a"), load(tmp_path / "a", into=PPCA(4, 2))):
        assert bits(back.model) == bits(saved.model)
        assert torch.equal(back.model.bound(x), saved.model.bound(x))
        assert back.model.schema == saved.model.schema
        again, onward = (fit(f.model, x, EM(), max_passes=3).bounds for f in (back, saved))
        assert torch.equal(again, onward)


def test_a_fitted_model_reads_tables_by_name():
    x = datasets.load("iris")
    model = fit(PPCA(4, 2), x, EM(), max_passes=5).model
    shuffled = x[list(x.columns)[::-1]]
    assert torch.equal(model.bound(shuffled), model.bound(x))
    assert torch.equal(model.posterior(shuffled).mean, model.posterior(x).mean)
    assert torch.equal(model.expect(shuffled).total, model.expect(x).total)


FLAT = np.hstack([X[:, :2], X[:, :2] @ [[1.0, 2], [3, -1]]])  # two columns follow from two others


@pytest.mark.parametrize("q", [2, 3])
def test_columns_that_follow_from_others_collapse(q):
    words = "noise variance is almost 0 with . latent dimensions: some columns follow .*: drop such columns"
    with pytest.raises(Collapse, match=words):
        PPCA.closed_form(FLAT, q)
    with pytest.raises(Collapse, match="noise variance is almost 0"):
        fit(PPCA(4, q), FLAT, EM(), max_passes=2000)


def test_fewer_dimensions_than_the_data_have_do_not_collapse():
    model = PPCA.closed_form(FLAT, 1)
    assert mean_bound(model, FLAT) == pytest.approx(log_density(model, FLAT).mean(), rel=1e-9)


def test_constant_data_collapse():
    with pytest.raises(Collapse, match="noise variance is almost 0"):
        PPCA.closed_form(np.ones((5, 3)), 1)
    with pytest.raises(Collapse, match="noise variance is almost 0"):
        fit(PPCA(3, 1), np.full((5, 3), 0.1), EM())


def test_it_says_what_is_not_set():
    for call in (PPCA(4, 2).bound, PPCA(4, 2).posterior, PPCA(4, 2).expect):
        with pytest.raises(ValueError, match=r"parameters of this PPCA are not set: fit it, seed\(model, x\) it, take"):
            call(X)
