"""The Gaussian family: priors against scipy, the M-step against autodiff, moments against their definition."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import (
    COVARIANCES,
    PRIORS,
    bits,
    covariances_of,
    data,
    explicit_prior,
    is_tied,
    log_evidence,
    log_prior,
    parameters_of,
    random_mixture,
    responsibilities,
    set_parameters,
    weak_prior,
)
from scipy import optimize, stats

from lowerbound.inference import EM, SVI, fit
from lowerbound.models import Gaussian, GaussianMixture, NormalInverseWishart, seed

X = data(n=80, d=3)
SET = slice(None)


@pytest.mark.parametrize("concentration", [None, 1.0, 2.5])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("covariance", COVARIANCES)
@settings(max_examples=8)
@given(draw=st.integers(0, 10**6), k=st.integers(1, 4))
def test_the_log_prior_is_scipys(covariance, prior, concentration, draw, k):
    model = random_mixture(covariance, X, k=k, prior=prior, concentration=concentration, draw=draw)
    assert model.global_term().item() == pytest.approx(log_prior(model, X), rel=1e-11, abs=1e-10)


def test_a_tied_covariance_is_believed_once():
    """Twice the components add their locations' densities, not another inverse-Wishart."""
    prior = explicit_prior("tied", 3)
    for covariance, prior_ in (("tied", prior), ("full", prior)):
        one, two = (random_mixture(covariance, X, k=k, prior=None) for k in (1, 2))
        shared = np.cov(X.T)
        terms = []
        for model, k in ((one, 1), (two, 2)):
            with_prior = GaussianMixture(k, 3, covariance, prior_)
            covariances = shared if covariance == "tied" else [shared] * k
            set_parameters(with_prior, [1 / k] * k, [X.mean(0)] * k, covariances)
            assert model.global_term() == 0  # maximum likelihood
            terms.append(with_prior.global_term().item())
        location = stats.multivariate_normal(prior.location, shared / prior.location_weight).logpdf(X.mean(0))
        scatter = stats.invwishart(prior.dof, prior.scale).logpdf(shared)
        assert terms[1] - terms[0] == pytest.approx(location + (0 if covariance == "tied" else scatter), rel=1e-10)


@pytest.mark.parametrize("concentration", [None, 2.5])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_m_step_leaves_no_slope(covariance, prior, concentration):
    """Autodiff of sum_ik r_ik log p(x_i, z = k) + log p(theta), before and after."""
    model = random_mixture(covariance, X, prior=prior, concentration=concentration)
    r = torch.tensor(responsibilities(model, X))

    def slope():
        joint = model.family.log_prob(torch.tensor(X)) + model.weights.log()
        value = (r * joint).sum() + model.global_term()
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))])

    before = slope()
    model.maximize(model.expect(X))
    # weights through a simplex's stick-breaking, the rest in units of the data: slopes of order one, sums of 80 rows
    assert before.abs().max() > 1
    assert slope().abs().max() < 1e-10 * before.abs().max()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_match_gives_the_moments_asked_for(covariance):
    """E[T(x)] = mean, taken by sampling from the definition of T: statistics of rows about an origin of zero."""
    rng = np.random.default_rng(0)
    family = Gaussian(1, 3, covariance)
    rows = rng.standard_normal((50, 3)) @ np.array([[2, 0, 0], [0.5, 1, 0], [0.3, -0.2, 0.5]]) + [1, -2, 3]
    family.match(family.statistics(torch.tensor(rows)).mean(0, keepdim=True))
    moments = family.moments()
    np.testing.assert_allclose(moments.mean[0], rows.mean(0), rtol=1e-12)
    sample = np.cov(rows.T, bias=True)
    expected = {
        "full": sample,
        "diag": np.diag(np.diagonal(sample)),
        "spherical": np.eye(3) * np.trace(sample) / 3,
    }[{"tied": "full"}.get(covariance, covariance.removeprefix("tied-"))]
    np.testing.assert_allclose(moments.covariance[0], expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_component_is_the_density_of_each_member(covariance):
    model = random_mixture(covariance, X)
    means, covariances = model.family.loc.detach().numpy(), covariances_of(model)
    for j in range(3):
        for z in (j, torch.tensor(j)):
            ours = model.family.component(z).log_prob(torch.tensor(X)).detach().numpy()
            np.testing.assert_allclose(ours, stats.multivariate_normal(means[j], covariances[j]).logpdf(X), rtol=1e-11)
    assert model.family.component().batch_shape == (3,)
    assert model.family.component().event_shape == (3,)
    moments = model.family.moments()
    np.testing.assert_allclose(moments.mean, means)
    np.testing.assert_allclose(moments.covariance, covariances, rtol=1e-12, atol=1e-300)


def test_the_weak_prior_is_that_of_fraley_and_raftery():
    model = seed(GaussianMixture(3, 3, prior="weak"), X)
    explicit = seed(GaussianMixture(3, 3, prior=weak_prior("full", 3, X)), X)
    a, b = (fit(m, X, EM(), max_passes=20) for m in (model, explicit))
    torch.testing.assert_close(a.bounds, b.bounds, rtol=1e-12, atol=0)


def test_the_weak_prior_follows_the_units_of_the_data():
    """The same clusters in other units: the fit is the same up to those units, so the prior carries them."""
    units = np.array([1e-3, 1.0, 1e4])
    a, b = (fit(GaussianMixture(3, 3, prior="weak"), x, EM(tol=0), max_passes=30) for x in (X, X * units + 5))
    for ours, theirs in zip(
        parameters_of(b.model, SET),
        (parameters_of(a.model, SET)[0], parameters_of(a.model, SET)[1] * units + 5, None),
        strict=True,
    ):
        if theirs is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-7)


def test_fewer_rows_than_columns_is_what_a_prior_is_for():
    x = np.random.default_rng(0).standard_normal((6, 10))
    result = fit(GaussianMixture(2, 10, prior="weak"), x, EM(), max_passes=50)
    assert torch.isfinite(result.bounds).all()
    assert np.linalg.eigvalsh(covariances_of(result.model)).min() > 0


GOOD = explicit_prior("full", 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"location": np.zeros(2)}, r"location \(2,\).*expected \(3,\)"),
        ({"scale": np.eye(2)}, r"scale \(2, 2\).*expected .*\(3, 3\)"),
        ({"scale": 1.0}, r"scale \(\).*expected .*\(3, 3\)"),
        ({"scale": np.zeros((3, 3))}, "expected .*positive definite"),
        ({"scale": -np.eye(3)}, "expected .*positive definite"),
        ({"dof": 2.0}, "dof 2.0.*expected .*above 2"),
        ({"dof": float("nan")}, "expected .*above 2"),
        ({"location_weight": 0.0}, "location_weight 0.0.*expected a positive weight"),
        ({"location_weight": -1.0}, "location_weight -1.0.*expected a positive weight"),
    ],
)
def test_improper_priors_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        Gaussian(2, 3, "full", dataclasses.replace(GOOD, **change))


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, np.ndarray.tolist], ids=["array", "tensor", "list"])
def test_parameters_are_set_from_any_kind_of_numbers(kind):
    """Such as another library's centres: they must not take the parameter's place."""
    model = GaussianMixture(3, 3, "diag")
    model.weights = kind(np.array([0.2, 0.3, 0.5]))
    model.family.loc = kind(X[:3])
    model.family.scale = kind(np.ones((3, 3)))
    assert len(list(model.parameters())) == 3
    np.testing.assert_allclose(model.family.loc.detach(), X[:3], rtol=1e-12)
    expected = fit(model, X, EM(), max_passes=2).bounds[0]
    assert expected.item() == pytest.approx(log_evidence(model, X).mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale_tril", [[[1, 2, 0], [0, 1, 0], [0, 0, 1]]] * 2),
        ("scale_tril", [-np.eye(3)] * 2),
        ("scale_tril", [np.full((3, 3), np.nan)] * 2),
        ("loc", np.full((2, 3), np.nan)),
        ("weights", [0.5, 0.6]),
        ("weights", [1.5, -0.5]),
    ],
)
def test_parameters_outside_their_range_are_refused(name, value):
    model = random_mixture("full", X, k=2)
    before = bits(model)
    with pytest.raises(ValueError, match=rf"{name} got .*, expected"):
        setattr(model if name == "weights" else model.family, name, torch.tensor(np.array(value)))
    assert bits(model) == before


@pytest.mark.parametrize("word", ["strong", "WEAK", ""])
def test_unknown_priors_are_told_the_known_ones(word):
    with pytest.raises(ValueError, match="expected None, 'weak' or a NormalInverseWishart"):
        Gaussian(2, 3, prior=word)


@pytest.mark.parametrize("concentration", [0.5, 0.0, -1.0, float("nan")])
def test_a_sparse_dirichlet_is_refused(concentration):
    with pytest.raises(ValueError, match=r"concentration is .*, expected at least 1: .*posterior over weights"):
        GaussianMixture(2, 3, concentration=concentration)


def test_the_weak_prior_needs_data():
    model = set_parameters(GaussianMixture(2, 3, prior="weak"), [0.5, 0.5], X[:2], [np.eye(3)] * 2)
    with pytest.raises(ValueError, match="takes its scale from data, which this model has not seen: fit or seed it"):
        model.global_term()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_parameters_are_copied_and_their_shapes_checked(covariance):
    model = random_mixture(covariance, X)
    name = "scale_tril" if hasattr(model.family, "scale_tril") else "scale"
    loc = torch.zeros(3, 3, dtype=torch.float64)
    model.family.loc = loc
    loc += 1
    assert (model.family.loc.abs() < 1e-9).all()  # not the caller's memory
    with pytest.raises(ValueError, match=r"loc got shape \(2, 3\), expected \(3, 3\)"):
        model.family.loc = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=rf"{name} got shape \(7,\), expected"):
        setattr(model.family, name, torch.ones(7))
    with pytest.raises(ValueError, match=r"got shape \(2,\), expected \(3,\)"):
        model.weights = torch.ones(2) / 2
    model.family.loc = torch.ones(3, 3)  # float32 becomes what the family holds
    assert model.family.loc.dtype == torch.float64


def test_a_tied_prior_is_a_prior_in_one_column():
    """By hand, one column, one component, three rows, N-inverse-gamma: Gelman et al., section 3.3."""
    x = np.array([[1.0], [2.0], [6.0]])
    prior = NormalInverseWishart([0.5], 2.0, 4.0, 3.0)
    result = fit(GaussianMixture(1, 1, "spherical", prior), x, EM(tol=0), max_passes=3)
    mean = (9 + 2 * 0.5) / (3 + 2)
    scatter = ((x - mean) ** 2).sum() + 2 * (mean - 0.5) ** 2 + 3.0
    assert result.model.family.loc.item() == pytest.approx(mean, rel=1e-14)
    # 3 rows, one location, dof + 2 of the density of the variance
    assert result.model.family.scale.item() ** 2 == pytest.approx(scatter / (3 + 1 + 4 + 2), rel=1e-13)
    assert is_tied("tied-diag")


# the least variance


@pytest.mark.parametrize("covariance", ["diag", "spherical", "tied-diag", "tied-spherical"])
@pytest.mark.parametrize("prior", [None, "explicit"])
def test_the_m_step_is_the_best_above_the_floor(covariance, prior):
    """Against scipy's search within bounds for the expected complete log-likelihood plus log prior."""
    floor = 0.7
    model = random_mixture(covariance, X)
    share = torch.as_tensor(responsibilities(model, X))
    known = explicit_prior(covariance, 3) if prior else None
    family = GaussianMixture(3, 3, covariance, known, variance_floor=floor).family
    family.loc, family.scale = model.family.loc, model.family.scale.detach() + 1
    family.maximize(share.sum(0), family.summarize(torch.as_tensor(X), share))
    assert family.scale.detach().square().min() >= floor - 1e-15
    shape = family.scale.shape

    def loss(variances):
        family.scale = torch.as_tensor(variances).reshape(shape).sqrt().clamp(min=floor**0.5)
        return -((share * family.log_prob(torch.as_tensor(X))).sum() + family.log_prior()).item()

    best = family.scale.detach().square().numpy().copy()
    assert (best == pytest.approx(floor)) or (best > floor).any()
    unit = best.ravel()  # columns differ by factors of 100, which a search would have to learn
    bounds = [(floor / u, None) for u in unit]
    found = optimize.minimize(lambda x: loss(x * unit), 1 + 0.3 / unit, bounds=bounds, options={"ftol": 1e-15})
    np.testing.assert_allclose(found.x, 1, rtol=2e-4)
    assert loss(best.ravel()) <= found.fun + 1e-9


@pytest.mark.parametrize("covariance", ["diag", "tied-diag"])
def test_a_constant_column_is_no_trouble_above_a_floor(covariance):
    x = np.column_stack([X, np.full(len(X), 3.7)])
    result = fit(GaussianMixture(3, 4, covariance, variance_floor=0.01), x, EM(), restarts=3)
    assert result.converged and result.bounds.diff().min() > -1e-11 and not any(o.collapsed for o in result.optima)
    np.testing.assert_allclose(result.model.family.scale.detach()[..., 3], 0.1)
    svi = fit(result.model, x, SVI("exact"), max_passes=50)  # goes on from the boundary
    assert svi.bounds.max() >= result.bounds[-1] - 1e-6
    assert (svi.model.family.scale.detach() >= 0.1).all()


def test_a_floor_that_nothing_reaches_changes_nothing():
    plain, floored = (
        fit(GaussianMixture(2, 3, "diag", variance_floor=f), X, EM(tol=0), max_passes=20) for f in (0.0, 1e-9)
    )
    torch.testing.assert_close(plain.bounds, floored.bounds, rtol=1e-12, atol=0)


@pytest.mark.parametrize("floor", [-1.0, float("inf"), float("nan")])
def test_a_floor_is_a_variance(floor):
    with pytest.raises(ValueError, match=r"variance_floor is .*, expected a variance of at least 0"):
        GaussianMixture(2, 3, "diag", variance_floor=floor)


@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_correlations_have_no_floor(covariance):
    with pytest.raises(ValueError, match="variance_floor is for covariances without correlations"):
        GaussianMixture(2, 3, covariance, variance_floor=0.1)
