"""Digits: what large offsets, scales, separations and correlations may cost, and what they must not."""

import numpy as np
import pytest
import torch
from reference import COVARIANCES, is_tied, parameters_of, set_parameters, shape_of

from lowerbound.inference import EM, SVI, fit
from lowerbound.models import GaussianMixture, NormalInverseWishart

EPS = np.finfo(float).eps
SET = slice(None)


def spherical_or_diagonal(matrices, covariance):
    d = matrices.shape[-1]
    if shape_of(covariance) == "diag":
        return matrices * np.eye(d)
    if shape_of(covariance) == "spherical":
        return np.trace(matrices, axis1=1, axis2=2)[:, None, None] / d * np.eye(d)
    return matrices


# float32 and float64 of the same values


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("offset", [0, 4096])
def test_float32_gives_the_parameters_of_the_same_values_in_float64(faithful, covariance, offset):
    x = (faithful.to_numpy() + offset).astype(np.float32)
    narrow, wide = (fit(GaussianMixture(2, 2, covariance), v, EM(tol=0), max_passes=40) for v in (x, x.astype(float)))
    for a, b in zip(parameters_of(narrow.model), parameters_of(wide.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert narrow.model.family.loc.dtype == torch.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_far_rows_keep_the_variance_of_the_prior(dtype):
    """scikit-learn gives [.1, 112] for a floor of .1. By hand: each component has one row at its own mean, so that its
    variance is scale / (1 row + 1 location + dof + 2) = .5 / 5; the location's pull adds 1e-30 * 9999^2."""
    x = np.array([[9999], [0]], dtype=dtype)
    prior = NormalInverseWishart([0.0], 1e-30, 1.0, 0.5)
    result = fit(GaussianMixture(2, 1, "spherical", prior), x, EM(tol=0), max_passes=50)
    order = result.model.family.loc.flatten().argsort()
    variances = result.model.family.scale.detach()[order] ** 2
    np.testing.assert_allclose(variances, [0.1, 0.1], rtol=1e-10)
    np.testing.assert_allclose(result.model.family.loc.detach().flatten()[order], [0, 9999], atol=1e-10)
    np.testing.assert_allclose(result.model.weights.detach(), [0.5, 0.5], rtol=1e-12)


# an offset of 1e8


@pytest.mark.parametrize("engine", [EM(tol=0), SVI("exact", tol=0)], ids=["em", "svi"])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_an_offset_costs_only_the_rounding_of_the_input(faithful, covariance, engine):
    """x + 1e8 is rounded to 1.5e-8; subtracting 1e8 again is exact, so that both fits see the same numbers. A mean of
    1e8 is itself rounded to half of 1.5e-8; nothing else may differ, but for summation order."""
    offset = 1e8
    far = faithful.to_numpy() + offset
    near = far - offset
    a, b = (fit(GaussianMixture(2, 2, covariance), x, engine, max_passes=60) for x in (near, far))
    (w, m, c), (w2, m2, c2) = parameters_of(a.model, SET), parameters_of(b.model, SET)
    np.testing.assert_allclose(w2, w, rtol=1e-11)
    np.testing.assert_allclose(m2 - offset, m, atol=EPS * offset)
    np.testing.assert_allclose(c2, c, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(b.bounds, a.bounds, rtol=1e-12, atol=0)


def test_an_offset_leaves_the_original_parameters(faithful):
    """And against the data as they were: rounding of the input by up to 7.5e-9 moves a mean or covariance by as much,
    times its sensitivity, which is below 100 on these overlapping clusters."""
    x = faithful.to_numpy()
    a, b = (fit(GaussianMixture(2, 2), v, EM(tol=0), max_passes=80) for v in (x, x + 1e8))
    (w, m, c), (w2, m2, c2) = parameters_of(a.model), parameters_of(b.model)
    np.testing.assert_allclose(w2, w, atol=1e-6)
    np.testing.assert_allclose(m2 - 1e8, m, atol=1e-6)
    np.testing.assert_allclose(c2, c, atol=1e-6)


# scales


@pytest.mark.parametrize("engine", [EM(tol=0), SVI("exact", tol=0)], ids=["em", "svi"])
@pytest.mark.parametrize("unit", [1e-12, 1e12])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_units_cost_nothing(faithful, covariance, unit, engine):
    """Multiplying by 1e12 rounds each cell by half an eps: 1e-16 relative, times sums and sensitivity."""
    x = faithful.to_numpy()
    a, b = (fit(GaussianMixture(2, 2, covariance), v, engine, max_passes=60) for v in (x, x * unit))
    (w, m, c), (w2, m2, c2) = parameters_of(a.model, SET), parameters_of(b.model, SET)
    np.testing.assert_allclose(w2, w, rtol=1e-10)
    np.testing.assert_allclose(m2 / unit, m, rtol=1e-10)
    np.testing.assert_allclose(c2 / unit**2, c, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(b.bounds + 2 * np.log(unit), a.bounds, rtol=1e-11, atol=1e-12)
    assert b.gradient_norm == pytest.approx(a.gradient_norm, rel=1e-4, abs=1e-11)


def test_columns_may_have_units_of_their_own(faithful):
    units = np.array([1e-12, 1e12])
    x = faithful.to_numpy()
    a, b = (fit(GaussianMixture(2, 2), v, EM(tol=0), max_passes=60) for v in (x, x * units))
    (w, m, c), (w2, m2, c2) = parameters_of(a.model, SET), parameters_of(b.model, SET)
    np.testing.assert_allclose(w2, w, rtol=1e-10)
    np.testing.assert_allclose(m2 / units, m, rtol=1e-10)
    np.testing.assert_allclose(c2 / np.outer(units, units), c, rtol=1e-10)


# separations

SIZES = [300, 200, 100]
DIRECTIONS = np.array([[0, 0], [1, 0.5], [-0.7, 1.2]])


def clusters(k, separation):
    """k clusters a few units wide, `separation` apart; x, and the moments of each, without cancellation."""
    rng = np.random.default_rng(k)
    factors = [np.array(f) for f in ([[1, 0], [0.3, 0.6]], [[0.6, 0], [-0.3, 1.4]], [[1.2, 0], [0, 0.5]])]
    groups = [
        rng.standard_normal((n, 2)) @ f.T + separation * c
        for n, f, c in zip(SIZES[:k], factors, DIRECTIONS, strict=False)
    ]
    weights = np.array(SIZES[:k]) / sum(SIZES[:k])
    # each group is taken from its first row, which is exact, before anything is summed
    means = np.stack([g[0] + (g - g[0]).mean(0) for g in groups])
    covariances = np.stack([np.cov((g - g[0]).T, bias=True) for g in groups])
    return np.concatenate(groups), weights, means, covariances


@pytest.mark.parametrize("beginning", ["own", "poor"])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("separation", [1e2, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("k", [2, 3])
def test_separated_clusters_are_seen_sharply(k, separation, covariance, beginning):
    """Clusters that do not overlap have closed-form parameters: those of each group. The fused pass may lose FAR * eps
    of a variance, 2e-11, summed over three terms; a mean is a double, rounded at the size of the separation."""
    x, weights, means, covariances = clusters(k, separation)
    model = GaussianMixture(k, 2, covariance)
    if beginning == "poor":  # each a third of the way to the others, and as wide as all the data
        wide = np.eye(2) * separation**2 / 4
        away = DIRECTIONS[:k].mean(0) * separation
        set_parameters(model, np.full(k, 1 / k), 0.7 * means + 0.3 * away, wide if is_tied(covariance) else [wide] * k)
    result = fit(model, x, EM(), restarts=5 if beginning == "own" else 1)
    if is_tied(covariance):
        covariances = np.broadcast_to(np.einsum("k,kij->ij", weights, covariances), covariances.shape)
    w, m, c = parameters_of(result.model)
    np.testing.assert_allclose(w, weights, rtol=1e-12)
    np.testing.assert_allclose(m, means, atol=4 * EPS * separation)
    np.testing.assert_allclose(c, spherical_or_diagonal(covariances, covariance), rtol=6e-11, atol=6e-11)


# correlations


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("condition", [1e6, 1e10, 1e12])
def test_correlated_columns_keep_what_their_condition_leaves(condition, seed):
    """x = A y, cond(A A') = condition. Products of columns are rounded at eps of the widest direction, which is eps *
    condition of the thinnest: 2e-10, 2e-6, 2e-4 of it. EM must arrive all the same."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((400, 3)) + 8 * np.repeat([0, 1], 200)[:, None] * [1, 0.5, -0.5]
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    a = rotation @ np.diag([1, condition**-0.25, condition**-0.5]) @ rotation.T
    plain, mapped = (fit(GaussianMixture(2, 3), v, EM(), restarts=3) for v in (y, y @ a.T))
    (w, m, c), (w2, m2, c2) = parameters_of(plain.model), parameters_of(mapped.model)
    if np.abs(m[0] - np.linalg.solve(a, m2[0])).max() > 1:  # equal weights: the canonical order is a coin's
        w2, m2, c2 = w2[::-1], m2[::-1], c2[::-1]
    inverse = np.linalg.inv(a)
    slack = 10 * EPS * condition
    np.testing.assert_allclose(w2, w, atol=1e-6)
    np.testing.assert_allclose(m2 @ inverse.T, m, atol=1e-5 + slack)
    np.testing.assert_allclose(inverse @ c2 @ inverse.T, c, atol=1e-5 + slack)
