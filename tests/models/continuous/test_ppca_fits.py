"""Probabilistic PCA, fitted: the two steps of EM, digits, gradient steps, and what is refused."""

import math

import numpy as np
import pyro
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ppca_oracles import conditioned, log_density, parameters_of, random_ppca
from pyro.infer import SVI as PyroSVI
from pyro.infer import Trace_ELBO
from reference import bits
from test_ppca import DIGITS, IRIS, WEIGHTS, X, mean_bound, seeds, shapes

from lowerbound import datasets
from lowerbound.inference import EM, SVI, fit, load
from lowerbound.models import PPCA, Collapse, seed

EVEN = X / 10.0 ** np.arange(4)  # columns of like units: EM arrives in a few hundred passes, not in 100,000


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
