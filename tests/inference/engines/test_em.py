"""EM: what a pass is, what it never does, and what it must not depend on."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import (
    COVARIANCES,
    PRIORS,
    Poisson,
    data,
    is_tied,
    log_evidence,
    log_prior,
    new_mixture,
    parameters_of,
    random_mixture,
    responsibilities,
    set_parameters,
    shape_of,
    start,
    weighted_moments,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch.utils.data import DataLoader, TensorDataset

from lowerbound.inference import EM, fit
from lowerbound.inference.engines.convergence import ROUNDING_FALL
from lowerbound.models import (
    PPCA,
    BayesianMixture,
    Exponential,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    Statistics,
    StudentTMixture,
    seed,
)
from lowerbound.models.kernels.gaussian_pass import FAR

X = data(n=200, d=3)
SET = slice(None)  # parameters in the model's own order


def reference_pass(model, x, weights):
    """One E-step in ten lines: T(y) = (y, second-order products of y) about each component's origin."""
    r = responsibilities(model, x) * weights[:, None]
    totals = []
    for origin, share in zip(model.family.origin.numpy(), r.T, strict=True):
        y = x - origin
        squares = np.einsum("ni,nj->nij", y, y)
        upper = np.triu_indices(x.shape[1])
        second = {"full": squares[:, *upper], "diag": y**2, "spherical": (y**2).sum(1, keepdims=True)}
        totals.append(share @ np.hstack([y, second[shape_of(model.family.covariance)]]))
    return r.sum(0), np.stack(totals), log_evidence(model, x) @ weights


# squared distances from the common centre, in widths: all below FAR, all above, some of each
@pytest.mark.parametrize("separations", [(1, 2, 3), (1e4, 2e4, 5e4), (0, 1, 1e4)], ids=["near", "far", "mixed"])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_fused_pass_is_the_slow_one(covariance, separations):
    rng = np.random.default_rng(0)
    d = 4
    centres = np.outer(separations, [1.0, -0.5, 0.3, 0.8])
    x = np.concatenate([c + rng.standard_normal((100, d)) for c in centres])
    factors = np.eye(d) + 0.2 * rng.standard_normal((3, d, d))
    if separations[0] == 0:
        factors[0] *= 1e4  # so wide that the middle stays near for it
    covariances = factors @ factors.transpose(0, 2, 1)
    model = new_mixture(covariance, 3, d)
    set_parameters(model, [0.2, 0.3, 0.5], centres + 0.3, covariances[2] if is_tied(covariance) else covariances)
    model.initialize(x, None, torch.Generator(), redraw=False)
    sizes = [np.sum((c - centres.mean(0)) ** 2) for c in centres]
    assert (max(sizes) > FAR) == (separations[2] > 100)

    weights = rng.uniform(0, 2, len(x))
    weight, total, bound = reference_pass(model, x, weights)
    ours = model.expect(x, weights)
    np.testing.assert_allclose(ours.weight.numpy(), weight, rtol=1e-9, atol=1e-9)
    found, wanted = ours.total.numpy(), total
    if is_tied(covariance):  # of the second order the M-step asks only for the sum over components
        found, wanted = (np.append(sums[:, :d], sums[:, d:].sum(0)) for sums in (found, wanted))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9 * np.abs(total).max())
    np.testing.assert_allclose(ours.bound.item(), bound, rtol=1e-10)
    # and the differentiable, unfused roads agree with it too
    summed = model.family.summarize(torch.tensor(x), torch.tensor(responsibilities(model, x) * weights[:, None]))
    np.testing.assert_allclose(summed.numpy(), total, rtol=1e-9, atol=1e-9 * np.abs(total).max())


def test_blocks_and_chunks_leave_no_seams():
    """More rows than a chunk of the reader (65536) and than a block of the pass (8192)."""
    x = np.random.default_rng(0).standard_normal((66_000, 2)) * [1, 50] + [3, -200]
    model = random_mixture("full", x, k=2)
    result = fit(model, x, EM(), max_passes=2)
    assert result.bounds[0].item() == pytest.approx(log_evidence(model, x).mean(), rel=1e-12)
    expected = weighted_moments(x, responsibilities(model, x), "full")
    for ours, theirs in zip(parameters_of(result.model, SET), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


def test_statistics_add():
    def one(value):
        v = torch.full((), float(value), dtype=torch.float64)
        return Statistics(v.expand(2), v.expand(2, 3), v, v)

    total = one(1) + one(2)
    assert (total.weight == 3).all()
    assert (total.total == 3).all()
    assert total.bound == 3
    assert total.total_weight == 3


@pytest.mark.parametrize("covariance", COVARIANCES)
@given(cuts=st.lists(st.integers(1, len(X) - 1), max_size=6, unique=True), shuffle=st.integers(0, 10**6))
def test_chunks_in_any_order_sum_to_the_whole(covariance, cuts, shuffle):
    model = random_mixture(covariance, X)
    weights = np.random.default_rng(3).uniform(0, 2, len(X))
    order = np.random.default_rng(shuffle).permutation(len(X))
    whole = model.expect(X, weights)
    parts = [model.expect(X[part], weights[part]) for part in np.split(order, sorted(cuts))]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    # sums of 200 signed terms in another order: 200 eps of their size
    for name in ("weight", "total", "bound", "total_weight"):
        a, b = getattr(total, name), getattr(whole, name)
        scale = b.abs().amax(0) if name == "total" else b.abs().max()
        assert ((a - b).abs() <= 1e-12 * scale).all(), name


@pytest.mark.parametrize("batch", [3, 64, 1000])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_fit_in_batches_is_the_fit(covariance, batch):
    model = random_mixture(covariance, X)
    loader = DataLoader(TensorDataset(torch.tensor(X)), batch_size=batch)
    whole, parts = (fit(model, x, EM(tol=0), max_passes=5) for x in (X, loader))
    torch.testing.assert_close(parts.bounds, whole.bounds, rtol=1e-12, atol=0)
    for a, b in zip(parameters_of(parts.model, SET), parameters_of(whole.model, SET), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("concentration", [None, 2.0])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_weight_is_a_number_of_repetitions(covariance, prior, concentration):
    weights = np.random.default_rng(2).integers(0, 4, len(X))
    repeated = np.repeat(X, weights, axis=0)
    model = random_mixture(covariance, X, prior=prior, concentration=concentration)
    a = fit(model, X, EM(tol=0), weights=weights, max_passes=10)
    b = fit(model, repeated, EM(tol=0), max_passes=10)
    torch.testing.assert_close(a.bounds, b.bounds, rtol=1e-12, atol=0)
    assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-7)
    for ours, theirs in zip(parameters_of(a.model, SET), parameters_of(b.model, SET), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_the_first_ten_m_steps_are_those_of_scikit_learn(covariance, faithful):
    x = faithful.to_numpy()
    origin = start(covariance, x, k=2)
    weights, means, covariances = parameters_of(origin, SET)
    precisions = np.linalg.inv(covariances)
    precisions = {
        "full": precisions,
        "tied": precisions[0],
        "diag": np.diagonal(precisions, axis1=1, axis2=2),
        "spherical": precisions[:, 0, 0],
    }[covariance]
    for steps in range(1, 11):
        theirs = SklearnMixture(
            2,
            covariance_type=covariance,
            weights_init=weights,
            means_init=means,
            precisions_init=precisions,
            reg_covar=0,
            tol=0,
            max_iter=steps,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it stops at max_iter: that is what we ask for
            theirs.fit(x)
        ours = fit(origin, x, EM(tol=0), max_passes=steps + 1)  # n passes are n - 1 M-steps
        # scikit-learn's bound is that of the parameters before its last M-step
        assert ours.bounds[-2].item() == pytest.approx(theirs.lower_bound_, rel=1e-10)
        w, m, c = parameters_of(ours.model, SET)
        np.testing.assert_allclose(w, theirs.weights_, rtol=1e-10)
        np.testing.assert_allclose(m, theirs.means_, rtol=1e-10)
        full = {"full": lambda c: c, "tied": lambda c: c[0], "diag": lambda c: np.diagonal(c, axis1=1, axis2=2)}
        shown = full.get(covariance, lambda c: c[:, 0, 0])(c)
        np.testing.assert_allclose(shown, theirs.covariances_, rtol=1e-10)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_one_m_step_is_the_textbooks(covariance):
    model = random_mixture(covariance, X)
    result = fit(model, X, EM(), max_passes=2)
    expected = weighted_moments(X, responsibilities(model, X), covariance)
    for ours, theirs in zip(parameters_of(result.model, SET), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize("concentration", [None, 2.0])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("covariance", COVARIANCES)
@settings(max_examples=8)
@given(draw=st.integers(0, 10**6), k=st.integers(1, 4))
def test_the_bound_never_falls(covariance, prior, concentration, draw, k):
    """However poor the start. ROUNDING_FALL is the stated rounding of one pass, relative to 1 + |bound|."""
    model = random_mixture(covariance, X, k=k, prior=prior, concentration=concentration, draw=draw)
    weights = np.random.default_rng(draw).uniform(0, 2, len(X))
    # not through `fit`, which would raise: the steps themselves must be monotone
    bounds = []
    for _ in range(12):
        statistics = model.expect(X, weights)
        bounds.append(((statistics.bound + model.global_term()) / statistics.total_weight).item())
        model.maximize(statistics)
    assert np.diff(bounds).min() >= -ROUNDING_FALL * (1 + np.abs(bounds).max())
    assert bounds[-1] > bounds[0] or k == 1


@pytest.mark.parametrize("labels", [None, np.where(np.arange(len(X)) < 20, np.arange(len(X)) % 3, -1)])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_last_bound_is_that_of_the_model_returned(covariance, prior, labels):
    weights = np.random.default_rng(1).uniform(0, 2, len(X))
    model = random_mixture(covariance, X, prior=prior, concentration=1.5)
    result = fit(model, X, EM(), weights=weights, labels=labels, max_passes=7)
    # scipy's prior, but for the weak one, which is taken from the weighted data
    term = result.model.global_term().item() if prior == "weak" else log_prior(result.model, X)
    final = log_evidence(result.model, X, labels) @ weights + term
    assert result.bounds[-1].item() == pytest.approx(final / weights.sum(), rel=1e-11)
    assert result.bounds.shape == result.times.shape
    assert result.bounds.dtype == torch.float64


def test_n_passes_are_n_e_steps_and_one_m_step_less(faithful):
    model = start("full", faithful.to_numpy(), k=2)
    one = fit(model, faithful, EM(), max_passes=1)
    assert len(one.bounds) == 1
    for a, b in zip(parameters_of(one.model, SET), parameters_of(model, SET), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)  # no M-step
    two = fit(model, faithful, EM(), max_passes=2)
    assert two.bounds[0] == one.bounds[0]
    model.maximize(model.expect(faithful))
    for a, b in zip(parameters_of(two.model, SET), parameters_of(model, SET), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_tol_zero_runs_every_pass_and_arrives(faithful):
    result = fit(GaussianMixture(2, 2), faithful, EM(tol=0), max_passes=60)
    assert len(result.bounds) == 60
    assert result.converged
    assert result.reason == "converged: no more than rounding left to gain"
    assert result.gradient_norm < 1e-12


def test_tol_is_what_is_left_to_gain(faithful):
    model = seed(GaussianMixture(3, 2, "tied"), faithful)
    limit = fit(model, faithful, EM(tol=0), max_passes=800).bounds[-1]
    for tol in (1e-4, 1e-7, 1e-10):
        result = fit(model, faithful, EM(tol=tol), max_passes=800)
        assert result.converged
        assert f"{tol:g}" in result.reason
        # Aitken's estimate is an estimate: a factor of ten is what it is trusted for
        assert limit - result.bounds[-1] < 10 * tol


def test_a_row_that_no_component_can_explain_is_an_error(faithful):
    model = set_parameters(new_mixture("full", 2, 2), [0.5, 0.5], [[0, 0], [1, 1]], [np.eye(2) * 1e-300] * 2)
    with pytest.raises(ArithmeticError, match="probability zero under every component"):
        model.expect(faithful)


def test_a_component_without_rows_keeps_its_parameters():
    x = data(n=50, d=3)
    model = random_mixture("full", x)
    labels = np.zeros(len(x), dtype=int)
    labels[::2] = 1  # nothing for component 2
    before = parameters_of(model, SET)
    result = fit(model, x, EM(), labels=labels, max_passes=2)
    weights, means, covariances = parameters_of(result.model, SET)
    assert weights[2] == 0
    np.testing.assert_allclose(means[2], before[1][2], rtol=1e-14)
    np.testing.assert_allclose(covariances[2], before[2][2], rtol=1e-13)
    np.testing.assert_allclose(means[0], x[1::2].mean(0), rtol=1e-12)


def test_a_users_family_is_counted_and_relabelled():
    model = Mixture(Poisson(3, 4))
    assert model.free_parameters() == 3 * 4 + 2
    x = np.random.default_rng(0).poisson([1, 5, 2, 9], size=(50, 4))
    fitted = fit(model, x, EM()).model
    rates = fitted.family.rate.detach().clone()
    before = fitted.bound(x)
    fitted.permute([2, 0, 1])
    np.testing.assert_allclose(fitted.family.rate.detach(), rates[[2, 0, 1]], rtol=1e-12)
    torch.testing.assert_close(fitted.bound(x), before)


@pytest.mark.parametrize("accelerate", [None, "squarem"])
def test_each_pass_reads_the_rows_once_and_the_closing_gradient_not_at_all(monkeypatch, accelerate):
    seen = []
    expect = Mixture.expect
    monkeypatch.setattr(Mixture, "expect", lambda self, x, *more, **how: seen.append(len(x)) or expect(self, x, *more))
    result = fit(GaussianMixture(2, 3), X, EM(tol=0, accelerate=accelerate), max_passes=7)
    assert seen == [len(X)] * 7
    monkeypatch.undo()
    again = fit(result.model, X, EM(tol=0), max_passes=1)
    assert again.gradient_norm == pytest.approx(result.gradient_norm, rel=1e-9)


def test_a_run_without_tolerance_says_at_its_end_whether_it_has_converged():
    """At an exact fixed point nothing moves: k-means, and its refits of two passes. Far from one, that is said, too."""
    x = np.r_[np.random.default_rng(0).normal(size=(30, 2)), np.random.default_rng(1).normal(size=(30, 2)) + 6]
    result = fit(KMeans(2, 2), x, EM(tol=0), max_passes=30)
    assert (result.converged, len(result.bounds)) == (True, 30)
    again = fit(result.model, x, EM(), max_passes=2)
    assert (again.converged, len(again.bounds)) == (True, 2)
    mixture = fit(GaussianMixture(2, 2), x, EM(tol=0), max_passes=200)
    assert fit(mixture.model, x, EM(), max_passes=2).converged
    assert not fit(GaussianMixture(2, 2), x + np.arange(60)[:, None], EM(), max_passes=2).converged


SMOOTH = PPCA(3, 1), StudentTMixture(2, 3), Mixture(Exponential(2, 3)), BayesianMixture(Gaussian(2, 3))


@pytest.mark.parametrize(
    ("model", "accelerate"),
    [*((model, how) for model in SMOOTH for how in (None, "squarem")), (KMeans(2, 3), None)],
    ids=lambda value: type(getattr(value, "family", value)).__name__ if isinstance(value, torch.nn.Module) else value,
)
def test_refits_of_two_passes_have_converged(model, accelerate):
    """However often: what is left to gain is not rounding alone, but less than tol."""
    rng = np.random.default_rng(0)
    x = np.abs(np.r_[rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) + 6] @ np.diag([1.0, 2.0, 5.0]))
    result = fit(model, x, EM(), max_passes=2000)
    assert result.converged
    for _ in range(6):
        result = fit(result.model, x, EM(accelerate=accelerate), max_passes=2)
        assert result.converged and result.bounds.diff().abs().max() < 1e-9, result.reason
    if not isinstance(model, KMeans):  # a gain of 1e-5 left is more than nothing, and more than 1e-9
        moved = fit(model, x, EM(), max_passes=2)
        assert not fit(moved.model, x, EM(accelerate=accelerate), max_passes=2).converged
