"""k-means as a mixture, held to scikit-learn, to distances written out, and to the mixture it is the limit of."""

import warnings
from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp
from sklearn.cluster import KMeans as Sklearn

from lowerbound.datasets import load
from lowerbound.inference import EM, SVI, compare, elbo_gap, fit
from lowerbound.models import Gaussian, GaussianMixture, KMeans, Mixture

IRIS = load("iris").to_numpy()


def at(centres, scale=1.0):
    """KMeans with these centres."""
    model = KMeans(*np.shape(centres))
    model.loc, model.family.scale = centres, scale
    return model


def squared(x, centres):
    """(n, k) squared distances."""
    return np.square(np.asarray(x)[:, None] - np.asarray(centres)).sum(-1)


def twin(model):
    """The tied-spherical mixture of equal weights at the same centres and scale."""
    mixture = Mixture(Gaussian(*model.loc.shape, "tied-spherical"))
    k = len(model.loc)
    mixture.weights = torch.full((k,), 1 / k, dtype=torch.float64)
    mixture.family.loc, mixture.family.scale = model.loc, model.family.scale
    return mixture


@pytest.mark.parametrize("steps", [1, 2, 5, 30])
@pytest.mark.parametrize("draw", [0, 1])
def test_lloyds_steps_are_scikit_learns(draw, steps):
    rng = np.random.default_rng(draw)
    start = IRIS[rng.choice(150, 4, replace=False)] + 0.01 * rng.standard_normal((4, 4))
    theirs = Sklearn(4, init=start, n_init=1, max_iter=steps, tol=0.0, algorithm="lloyd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it stops before it converged is what is asked for
        theirs.fit(IRIS)
    ours = fit(at(start), IRIS, EM(tol=0.0), max_passes=steps + 1).model
    np.testing.assert_allclose(ours.loc.detach(), theirs.cluster_centers_, rtol=1e-10)
    np.testing.assert_array_equal(ours.posterior(IRIS).probs.argmax(1), theirs.labels_)
    assert float(ours.distortion(IRIS)) == pytest.approx(theirs.inertia_, rel=1e-11)


small = st.integers(2, 9).flatmap(
    lambda n: st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=n, max_size=n)
)


@given(small, st.integers(1, 4), st.integers(0, 99), st.booleans())
def test_neither_distortion_nor_bound_ever_gets_worse(rows, k, draw, with_labels):
    """Duplicates, clusters empty from the start, rows whose cluster is known."""
    x, rng = np.array(rows, dtype=float) + 0.25, np.random.default_rng(draw)
    model = at(rng.choice([-30.0, -1.0, 0.0, 1.0, 30.0], (k, 2)), 3.0)
    labels = np.where(rng.random(len(x)) < 0.3, rng.integers(k, size=len(x)), -1) if with_labels else None
    distortions, bounds = [], []
    for _ in range(7):
        statistics = model.expect(x, labels=labels)
        distances = squared(x, model.loc.detach())
        own = distances.min(1) if labels is None else np.where(
            labels < 0, distances.min(1), distances[np.arange(len(x)), labels]
        )  # fmt: skip
        assert float(statistics.distortion) == pytest.approx(own.sum(), rel=1e-9, abs=1e-9)
        distortions.append(own.sum())
        bounds.append(float(statistics.bound))
        if own.sum() < 1e-9:  # each row its own centre: the bound is at its top, infinity
            break
        model.maximize(statistics)
    assert (np.diff(distortions) <= 1e-9 * (1 + distortions[0])).all()
    assert (np.diff(bounds) >= -1e-9 * np.abs(bounds).max()).all()


def test_an_empty_cluster_takes_the_furthest_row():
    """By hand: rows 0, 1, 2, 10 on a line; 10 leaves the cluster at 0 for the empty one."""
    x = np.array([[0.0], [1.0], [2.0], [10.0]])
    model = at([[0.0], [1000.0]])
    assert float(model.distortion(x)) == 0 + 1 + 4 + 100
    model.maximize(model.expect(x))
    np.testing.assert_allclose(model.loc.detach()[:, 0], [1.0, 10.0], atol=1e-12)
    assert model.family.scale.item() ** 2 == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert model.posterior(x).probs.argmax(1).tolist() == [0, 0, 0, 1]
    # two empty clusters: the two furthest rows, of weight as it is; a cluster never gives its last row away
    model = at([[0.0], [1000.0], [2000.0]])
    model.maximize(model.expect(x, weights=[1.0, 1.0, 3.0, 2.0]))
    np.testing.assert_allclose(model.loc.detach()[:, 0], [0.5, 10.0, 2.0], atol=1e-12)
    model = at([[0.0], [1000.0]])
    model.maximize(model.expect(x[:1] + 3))
    np.testing.assert_allclose(model.loc.detach()[:, 0], [3.0, 1000.0])


def test_an_empty_cluster_takes_no_row_that_is_known_to_be_anothers():
    """The row at 100 is known to be of cluster 0: the furthest that is free is the one at 5.2."""
    x = np.array([[0.0], [0.1], [0.2], [100.0], [5.0], [5.2]])
    labels = np.array([0, -1, -1, 0, -1, -1])
    model = at([[0.0], [5.0], [1000.0]])
    result = fit(model, x, EM(tol=0.0), labels=labels, max_passes=8)
    assert result.bounds.diff().min() >= -1e-12
    model.maximize(model.expect(x, labels=labels))
    np.testing.assert_allclose(model.loc.detach()[:, 0], [100.3 / 4, 5.0, 5.2])
    assert result.model.posterior(x, labels).probs[[0, 3], 0].tolist() == [1.0, 1.0]


@given(st.integers(0, 999), st.integers(1, 3))
def test_a_weight_is_so_many_rows(draw, k):
    rng = np.random.default_rng(draw)
    x, weights = rng.standard_normal((12, 2)), rng.integers(0, 4, 12)
    weights[0] = 1
    centres = x[:k] + 0.1
    once, often = at(centres), at(centres)
    one, other = once.expect(x, weights.astype(float)), often.expect(np.repeat(x, weights, 0))
    for name in ("weight", "bound", "total_weight", "distortion"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-11, atol=1e-11)
    if (one.weight > 0).all():
        once.maximize(one)
        often.maximize(other)
        torch.testing.assert_close(once.loc, often.loc, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(once.family.scale, often.family.scale, rtol=1e-10, atol=1e-10)


@given(st.permutations(range(12)), st.lists(st.integers(1, 11), max_size=3, unique=True), st.integers(0, 99))
def test_statistics_of_chunks_add_in_any_order(order, cuts, draw):
    x = np.random.default_rng(draw).standard_normal((12, 2))
    model = at([[0.0, 0.0], [50.0, 50.0], [1.0, 1.0], [-50.0, 9.0]])  # two of them empty
    whole = model.expect(x)
    parts = [model.expect(part) for part in np.split(x[order], sorted(cuts))]
    left = reduce(add, parts)
    right = reduce(lambda a, b: b + a, reversed(parts))
    backwards = reduce(add, reversed(parts))
    for sums in (left, right, backwards):
        for name in ("weight", "total", "bound", "total_weight", "distortion", "squared", "rows", "cluster"):
            torch.testing.assert_close(getattr(sums, name), getattr(whole, name), rtol=1e-11, atol=1e-11)
    far = np.sort(squared(x, model.loc.detach()).min(1))[::-1][:4]
    np.testing.assert_allclose(whole.squared, far, rtol=1e-11)
    with pytest.raises(TypeError):
        whole + GaussianMixture(2, 2)


def test_the_bound_misses_the_evidence_by_what_the_other_components_hold():
    model = fit(KMeans(3, 4), IRIS, EM(), restarts=3).model
    scale, centres = model.family.scale.item(), model.loc.detach().numpy()
    joint = np.stack([stats.multivariate_normal(c, scale**2 * np.eye(4)).logpdf(IRIS) for c in centres], -1) - np.log(3)
    evidence = logsumexp(joint, axis=1)
    np.testing.assert_allclose(model.bound(IRIS), joint.max(1), rtol=1e-11)
    assert (model.bound(IRIS).numpy() <= evidence + 1e-12).all()
    gap = elbo_gap(model, IRIS)
    np.testing.assert_allclose(gap.evidence, evidence, rtol=1e-11)
    np.testing.assert_allclose(gap.kl, evidence - joint.max(1), atol=1e-11)  # KL(one-hot || p) = -log p[nearest]
    assert gap.kl.max() > 0.1
    np.testing.assert_allclose(gap.evidence, twin(model).bound(IRIS), rtol=1e-11)
    distortion = squared(IRIS, centres).min(1).sum()
    assert scale**2 == pytest.approx(distortion / IRIS.size, rel=1e-11)
    assert float(model.distortion(IRIS)) == pytest.approx(distortion, rel=1e-12)
    assert model.free_parameters() == 13


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_distortion_does_not_depend_on_the_scale_parameter(unit):
    """J is of rows and centres alone: a scale of the wrong size must not cost it its digits."""
    x = IRIS * unit
    expected = squared(x, x[[0, 60, 120]]).min(1).sum()
    for scale in (1e-3, 1.0, 1e3):
        assert float(at(x[[0, 60, 120]], scale * unit).distortion(x)) == pytest.approx(expected, rel=1e-12)


def test_small_variances_turn_the_mixture_into_kmeans():
    """Responsibilities to labels, the mean update to the k-means update, at the rate exp(-gap / (2 scale^2))."""
    centres = IRIS[[10, 60, 110]] + 0.05
    one = at(centres)
    labels = squared(IRIS, centres).argmin(1)
    two = np.sort(squared(IRIS, centres), axis=1)
    narrow = (two[:, 1] - two[:, 0]).min()
    one.maximize(one.expect(IRIS))
    errors = []
    for scale in (0.3, 0.1, 0.03, np.sqrt(narrow / 80)):
        mixture = twin(at(centres, scale))
        share = mixture.posterior(IRIS).probs.numpy()
        mixture.maximize(mixture.expect(IRIS))
        errors.append(np.abs(mixture.family.loc.detach().numpy() - one.loc.detach().numpy()).max())
    assert (np.diff(errors) < 0).all()
    np.testing.assert_allclose(share, np.eye(3)[labels], atol=2 * np.exp(-40))
    assert errors[-1] < 1e-11
    np.testing.assert_allclose(one.loc.detach(), [IRIS[labels == j].mean(0) for j in range(3)], rtol=1e-12)


@pytest.mark.drawn(1)
@pytest.mark.parametrize("elbo", ["exact", "enumerated", "sampled"])
def test_gradients_find_what_lloyd_finds(elbo):
    """Where no row is near a border, the centres are the means, whoever moves them."""
    x = np.random.default_rng(0).standard_normal((90, 2)) + np.repeat([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]], 30, 0)
    result = fit(at([[1.0, 1.0], [19.0, 2.0], [1.0, 18.0]], 3.0), x, SVI(elbo), max_passes=150)
    np.testing.assert_allclose(result.model.loc.detach(), x.reshape(3, 30, 2).mean(1), atol=0.01)
    within = (x.reshape(3, 30, 2) - x.reshape(3, 30, 2).mean(1, keepdims=True)).ravel().std()
    assert result.model.family.scale.item() == pytest.approx(within, abs=0.01)
    assert float(result.bounds[-1]) == pytest.approx(-np.log(3) - np.log(2 * np.pi * np.e * within**2), abs=1e-4)
    np.testing.assert_allclose(result.model.weights.detach(), [1 / 3] * 3, rtol=1e-12)  # not to be learnt


def test_as_many_centres_as_rows():
    x = np.random.default_rng(0).standard_normal((6, 2))
    result = fit(KMeans(6, 2), x, EM())
    assert float(result.model.distortion(x)) < 1e-20
    assert torch.isfinite(result.bounds).all()
    assert sorted(result.model.posterior(x).probs.argmax(1).tolist()) == list(range(6))


def test_known_labels_hold():
    """Two rows swapped by their labels, and the rest where they are near."""
    x = np.array([[0.0], [0.2], [0.4], [9.0], [9.2], [9.4]])
    labels = np.array([1, -1, -1, 0, -1, -1])
    model = fit(KMeans(2, 1), x, EM(), labels=labels).model
    assert model.posterior(x, labels).probs.argmax(1).tolist()[::3] == [1, 0]
    near = squared(x, model.loc.detach()).argmin(1)
    assert model.posterior(x).probs.argmax(1).tolist() == near.tolist()


@pytest.mark.parametrize("order", [["km", "gm"], ["gm", "km"]])
def test_it_is_compared_with_mixtures_on_one_scale(order):
    fits = {"km": fit(KMeans(3, 4), IRIS, EM(), restarts=3), "gm": fit(GaussianMixture(3, 4), IRIS, EM())}
    result = compare(IRIS, **{name: fits[name] for name in order})
    frame = result.frame()
    assert frame.log_likelihood["km"] == pytest.approx(float(twin(fits["km"].model).bound(IRIS).sum()), rel=1e-11)
    assert frame.gap["km"] == pytest.approx(frame.log_likelihood["km"] - frame.elbo["km"], abs=1e-9)
    assert frame.gap["km"] > 1 > abs(frame.gap["gm"])
    assert "km" in str(result)
