"""Student-t components, held to scipy's density, scipy's optimiser, and the Gaussian they tend to."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from reference import COVARIANCES, explicit_prior, weighted_moments
from scipy import optimize, stats
from scipy.special import digamma, logsumexp

from lowerbound.inference import EM, align, fit
from lowerbound.models import FamilyOf, GaussianMixture, Mixture, StudentT, StudentTMixture, seed


def heavy(n=400, dof=4.0, draw=1):
    """n rows of one bivariate t."""
    return stats.multivariate_t([1.0, -2.0], [[2.0, 0.5], [0.5, 1.0]], df=dof, seed=draw).rvs(n)


def two_groups(n=200):
    """Two t components well apart, the second half as wide."""
    x = heavy(n)
    return np.concatenate([x[: n // 2], 0.5 * x[n // 2 :] + [8.0, 3.0]])


def scale_matrices(family):
    """(k, d, d) scale matrices, from the parameters a user sees."""
    k, d = family.loc.shape
    if family.normal.shape.scale_dims == 2:
        factor = family.scale_tril.detach().numpy()
        return np.broadcast_to(factor @ np.swapaxes(factor, -1, -2), (k, d, d))
    variance = family.scale.detach().numpy() ** 2
    lead = variance if family.normal.tied else variance.reshape(k, -1)
    return np.broadcast_to(lead, (k, d))[..., None] * np.eye(d)


def log_joint(model, x):
    """log p(x, z = k), (n, k), one scipy density at a time."""
    family = model.family
    loc, dof = family.loc.detach().numpy(), family.dof.detach().numpy()
    columns = [
        stats.multivariate_t(m, s, df=v).logpdf(x) for m, s, v in zip(loc, scale_matrices(family), dof, strict=True)
    ]
    return np.log(model.weights.detach().numpy()) + np.stack(columns, -1)


@pytest.mark.parametrize("dof", [None, [0.7, 3.0]], ids=["estimated", "fixed"])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_density_and_bound_are_scipys(covariance, dof):
    x = two_groups(60)
    model = seed(StudentTMixture(2, 2, dof, covariance), x)
    joint = log_joint(model, x)
    np.testing.assert_allclose(model.family.dof.detach(), [10.0, 10.0] if dof is None else dof, rtol=1e-14)
    np.testing.assert_allclose(model.bound(x), logsumexp(joint, axis=1), rtol=1e-12)
    np.testing.assert_allclose(model.expect(x).bound, logsumexp(joint, axis=1).sum(), rtol=1e-12)
    inside = np.stack([model.family.component(z).log_prob(torch.as_tensor(x)).detach() for z in (0, 1)], -1)
    np.testing.assert_allclose(inside, joint - np.log(model.weights.detach().numpy()), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("estimated", "length"), [(True, 1.0), (True, 0.5), (False, 1.0)])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_one_pass_by_hand(covariance, estimated, length):
    """u = (dof + d) / (dof + squared distance); weighted moments; parameter expansion where each has its own scale.
    The degrees of freedom: by a Newton step on scipy's log density; by EM's own equation if that was too long."""
    x, d = two_groups(80), 2
    model = seed(StudentTMixture(2, d, None if estimated else [2.0, 7.0], covariance), x, 3)
    dof, loc, sigma = model.family.dof.detach().numpy(), model.family.loc.detach().numpy(), scale_matrices(model.family)
    joint = log_joint(model, x)
    r = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    squared = np.stack(
        [np.einsum("ni,ij,nj->n", x - m, np.linalg.inv(s), x - m) for m, s in zip(loc, sigma, strict=True)], -1
    )
    u = (dof + d) / (dof + squared)
    mean_log = digamma((dof + d) / 2) - np.log((dof + squared) / 2)

    model.maximize(model.expect(x), length)
    size, scaled = r.sum(0), (r * u).sum(0)
    _, means, scatter = weighted_moments(x, r * u, covariance)  # the scatter over the sum of r u
    if covariance.startswith("tied"):
        scatter = scatter * scaled.sum() / size.sum()
    np.testing.assert_allclose(model.weights.detach(), size / size.sum(), rtol=1e-11)
    np.testing.assert_allclose(model.family.loc.detach(), means, rtol=1e-10)
    np.testing.assert_allclose(scale_matrices(model.family), scatter, rtol=1e-9, atol=1e-12)
    if not estimated:
        return
    for j in range(2):
        if length == 1:

            def value(log_dof, j=j):
                return r[:, j] @ stats.multivariate_t(loc[j], sigma[j], df=np.exp(log_dof)).logpdf(x)

            at, h = np.log(dof[j]), 1e-3
            low, middle, high = value(at - h), value(at), value(at + h)
            slope, bend = (high - low) / (2 * h), (high - 2 * middle + low) / h**2
            step = np.clip(-slope / bend, -2, 2) if bend < 0 else np.sign(slope)
            assert np.log(model.family.dof[j].item() / dof[j]) == pytest.approx(step, rel=1e-4)
            continue
        mean, log = scaled[j] / size[j], (r * mean_log)[:, j].sum() / size[j]
        gap = (mean - 1 if covariance.startswith("tied") else np.log(mean)) - log
        half = optimize.brentq(lambda a, gap=gap: np.log(a) - digamma(a) - gap, 1e-3, 1e6, xtol=1e-14)
        assert model.family.dof[j].item() == pytest.approx(2 * half, rel=1e-9)


@pytest.mark.parametrize("dof", [4.0, None])
def test_one_component_is_where_an_independent_optimiser_ends(dof):
    """BFGS on the log-Cholesky of the scale matrix, scipy's density."""
    x = heavy(150)

    def unpack(theta):
        factor = np.array([[np.exp(theta[2]), 0.0], [theta[3], np.exp(theta[4])]])
        return theta[:2], factor @ factor.T, np.exp(theta[5]) if dof is None else dof

    def loss(theta):
        loc, sigma, v = unpack(theta)
        return -stats.multivariate_t(loc, sigma, df=v).logpdf(x).mean()

    start = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])[: 6 if dof is None else 5]
    best = optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-9})
    loc, sigma, v = unpack(best.x)
    result = fit(StudentTMixture(1, 2, dof), x, EM(tol=0.0), max_passes=150)
    assert float(result.bounds[-1]) == pytest.approx(-best.fun, abs=1e-10)
    np.testing.assert_allclose(result.model.family.loc.detach()[0], loc, atol=1e-6)
    np.testing.assert_allclose(scale_matrices(result.model.family)[0], sigma, atol=1e-6 if dof else 1e-5)
    assert result.model.family.dof.item() == pytest.approx(v, rel=1e-12 if dof else 2e-5)
    if dof is None:  # one column against scipy's own fit
        one = fit(StudentTMixture(1, 1), x[:, :1], EM(tol=0.0), max_passes=150).model.family
        theirs = stats.t.fit(x[:, 0])
        ours = [one.dof.item(), one.loc.item(), one.scale_tril.item()]
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)  # the simplex method of scipy stops about there


@pytest.mark.parametrize("dof", [1.0, 3.0, 12.0])
def test_degrees_of_freedom_are_recovered(dof):
    """Within 3 standard errors: the curvature of scipy's profile of dof, the others held at the estimate (which makes
    the error look smaller, so that the test is the harder)."""
    n = 4000
    x = heavy(n, dof, draw=7)
    family = fit(StudentTMixture(1, 2), x, EM()).model.family
    loc, sigma, got = family.loc.detach().numpy()[0], scale_matrices(family)[0], family.dof.item()

    def total(log_dof):
        return stats.multivariate_t(loc, sigma, df=np.exp(log_dof)).logpdf(x).sum()

    step = 0.01
    middle = np.log(got)
    curvature = -(total(middle + step) - 2 * total(middle) + total(middle - step)) / step**2
    assert abs(np.log(got / dof)) < 3 / np.sqrt(curvature)
    assert 3 / np.sqrt(curvature) < 0.5  # a standard error that says something
    np.testing.assert_allclose(loc, [1.0, -2.0], atol=4 * np.sqrt(2 * (dof + 4) / (dof + 2) / n))  # Lange et al. 1989


@pytest.mark.parametrize("draw", [0, 1, 2])
def test_outliers_cost_less_than_under_gaussians(draw):
    """5 % of rows eight times as wide: t components predict new rows better and keep their places."""
    rng = np.random.default_rng(draw)
    centres = np.array([[0.0, 0.0], [15.0, 15.0]])

    def rows(n):
        wide = np.where(rng.random((n, 1)) < 0.05, 8.0, 1.0)
        return centres[rng.integers(2, size=n)] + wide * rng.standard_normal((n, 2))

    train, test = rows(600), rows(600)
    t, gaussian = (
        fit(make(2, 2), train, EM(tol=1e-6), max_passes=100).model for make in (StudentTMixture, GaussianMixture)
    )
    assert float(t.bound(test).mean()) > float(gaussian.bound(test).mean()) + 0.1
    got = t.family.loc.detach()[t.family.loc.detach()[:, 0].argsort()].numpy()
    np.testing.assert_allclose(got, centres, atol=4 / np.sqrt(300) * 1.2)  # 4 standard errors, some efficiency lost
    assert t.family.dof.min() < 6  # of the other, too, unless one took the outliers of both


def test_many_degrees_of_freedom_are_a_gaussian_in_density_and_in_fit():
    """What is left falls as 1 / dof, down to rounding: nothing cancels on the way."""
    x = np.random.default_rng(0).standard_normal((200, 2)) @ np.array([[1.0, 0.4], [0.0, 2.0]]) + 5
    gaussian = fit(GaussianMixture(1, 2), x, EM())
    ends, cells = [], []
    for dof in (1e3, 1e4, 1e5, 1e6, 1e8, 1e10):
        t = fit(StudentTMixture(1, 2, dof), x, EM(tol=1e-14))
        ends.append(float(t.bounds[-1] - gaussian.bounds[-1]) * dof)
        t.model.family.loc = gaussian.model.family.loc
        t.model.family.scale_tril = gaussian.model.family.scale_tril
        cells.append((t.model.bound(x) - gaussian.model.bound(x)).numpy() * dof)
    # of log t: (q^2 / 4 - d q / 2 + d (d - 2) / 4) / dof, for q the squared distance
    factor = gaussian.model.family.scale_tril.detach().numpy()[0]
    q = np.square(np.linalg.solve(factor, (x - x.mean(0)).T)).sum(0)
    expected = q**2 / 4 - q
    for dof, cell in zip((1e3, 1e4, 1e5, 1e6), cells, strict=False):
        np.testing.assert_allclose(cell, expected, atol=np.abs(expected).max() * (60 / dof + 2e-15 * 20 * dof))
    np.testing.assert_allclose(cells[-1], expected, atol=1e-4 * 1e10 * 1e-9)
    np.testing.assert_allclose(ends, expected.mean(), rtol=0.1, atol=1e-4)
    np.testing.assert_allclose(ends[1:4], expected.mean(), rtol=0.01)


@pytest.mark.parametrize("tails", ["normal", "uniform"])
def test_light_tails_send_the_degrees_of_freedom_up(tails):
    """No tail to explain: dof grows, and the bound stays at most that of the Gaussian when uniform."""
    x = getattr(np.random.default_rng(3), tails)(size=(300, 2))
    result = fit(StudentTMixture(1, 2), x, EM(tol=0.0), max_passes=100)
    gaussian = fit(GaussianMixture(1, 2), x, EM())
    dof = result.model.family.dof.item()
    assert dof > 15
    assert result.bounds.diff().min() > -1e-13
    assert abs(float(result.bounds[-1] - gaussian.bounds[-1])) < 1 / min(dof, 1e8)  # beyond, rounding is larger
    if tails == "uniform":
        assert result.bounds[-1] < gaussian.bounds[-1]
        result.model.family.dof = torch.tensor([1e8])  # at the largest that the M-step gives, a pass stays finite
        result.model.maximize(result.model.expect(x))
        assert torch.isfinite(result.model.family.dof).all() and result.model.family.dof.item() > 1e7
        assert float(result.model.bound(x).mean()) == pytest.approx(float(gaussian.bounds[-1]), abs=1e-7)


@pytest.mark.parametrize(
    ("dof", "prior"),  # scales as wide as the explicit prior wants them leave no tails: dof creeps up for ever
    [(None, None), (None, "weak"), (3.0, None), (3.0, "weak"), (3.0, "explicit")],
)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_bound_never_falls_and_ends_where_its_gradient_is_zero(covariance, dof, prior):
    """The gradient is autodiff's, of the bound: it knows nothing of the M-step."""
    x = two_groups()
    prior = explicit_prior(covariance, 2, x) if prior == "explicit" else prior
    result = fit(StudentTMixture(2, 2, dof, covariance, prior, concentration=2.0), x, EM(tol=1e-9))
    assert len(result.bounds) > 5
    assert result.bounds.diff().min() >= -1e-12
    assert result.gradient_norm < 1e-4


@pytest.mark.parametrize("unit", [1e-6, 1e6])
@pytest.mark.parametrize("covariance", ["full", "tied-diag", "spherical"])
def test_units_change_nothing(covariance, unit):
    x = two_groups()
    plain, other = (fit(StudentTMixture(2, 2, None, covariance), y, EM(), max_passes=20) for y in (x, unit * x))
    np.testing.assert_allclose(plain.bounds, other.bounds + 2 * np.log(unit), atol=1e-10)
    np.testing.assert_allclose(plain.model.family.dof.detach(), other.model.family.dof.detach(), rtol=1e-8)
    np.testing.assert_allclose(plain.model.family.loc.detach(), other.model.family.loc.detach() / unit, rtol=1e-8)


def test_far_from_zero():
    """At 1e6 widths the data themselves keep ten digits."""
    x = np.round(two_groups() * 2**20) / 2**20  # so that adding 2^20 is exact
    near, far = (fit(StudentTMixture(2, 2), x + o, EM()) for o in (0.0, 2.0**20))
    np.testing.assert_allclose(near.bounds, far.bounds, atol=1e-9)
    np.testing.assert_allclose(near.model.family.loc.detach(), far.model.family.loc.detach() - 2.0**20, atol=1e-7)
    np.testing.assert_allclose(near.model.family.dof.detach(), far.model.family.dof.detach(), rtol=1e-6)


def test_cauchy_components_have_places_though_no_means():
    x = np.concatenate(
        [stats.cauchy.rvs(size=(400, 1), random_state=1), 30 + stats.cauchy.rvs(size=(400, 1), random_state=2)]
    )
    result = fit(StudentTMixture(2, 1, dof=1.0), x, EM(), restarts=3)
    family = result.model.family
    order = family.loc.detach()[:, 0].argsort()
    np.testing.assert_allclose(family.loc.detach()[order, 0], [0, 30], atol=4 * np.sqrt(2 / 400))  # 4 standard errors
    np.testing.assert_allclose(family.scale_tril.detach()[order, 0, 0], [1, 1], atol=4 * np.sqrt(2 / 400) * 1.5)
    assert torch.isinf(family.moments().covariance).all()
    assert torch.isfinite(result.model.sample(10, seed=0)).all()
    assert np.isfinite(result.model.summary().to_numpy()).all()
    # one component against scipy's fit of a Cauchy
    one = fit(StudentTMixture(1, 1, dof=1.0), x[:400], EM(tol=1e-13)).model.family
    np.testing.assert_allclose([one.loc.item(), one.scale_tril.item()], stats.cauchy.fit(x[:400, 0]), atol=1e-4)


def test_moments_and_samples():
    """Covariance dof / (dof - 2) Sigma; 5 standard errors of 100,000 rows."""
    model = Mixture(StudentT(1, 2, dof=9.0))
    model.family.loc, model.family.scale_tril = [[1.0, 2.0]], [[[1.0, 0.0], [0.5, 2.0]]]
    theirs = stats.multivariate_t([1.0, 2.0], [[1.0, 0.5], [0.5, 4.25]], df=9)
    np.testing.assert_allclose(model.family.moments().covariance[0], 9 / 7 * theirs.shape, rtol=1e-12)
    x = model.sample(100_000, seed=1).numpy() - [1.0, 2.0]
    products = (x[:, :, None] * x[:, None, :]).reshape(-1, 4)
    error = products.std(0) / np.sqrt(len(x))
    assert (np.abs(products.mean(0) - (9 / 7 * theirs.shape).ravel()) < 5 * error).all()


def test_free_parameters_and_relabelling():
    assert StudentT(3, 2).free_parameters() == 6 + 9 + 3  # locations, scales, degrees of freedom
    assert StudentT(3, 2, dof=4.0).free_parameters() == 6 + 9
    x = two_groups(60)
    for dof in (None, [2.0, 5.0]):
        model = fit(StudentTMixture(2, 2, dof), x, EM(), max_passes=3).model
        joint, before = log_joint(model, x), model.family.dof.tolist()
        model.permute([1, 0])
        np.testing.assert_allclose(log_joint(model, x), joint[:, ::-1], rtol=1e-12)
        assert model.family.dof.tolist() == before[::-1]
        assert isinstance(model.family.component(), dist.MultivariateStudentT)


@pytest.mark.parametrize("dof", [0.0, -1.0, float("nan"), [1.0, 2.0, 3.0], [[4.0, 4.0]]])
def test_degrees_of_freedom_that_are_none(dof):
    with pytest.raises(ValueError, match="expected None, a positive number, or one for each of 2"):
        StudentT(2, 2, dof)


# starts beside outliers


def apart(n=60):
    """Two clusters of n Gaussian rows."""
    rng = np.random.default_rng(0)
    return np.r_[rng.normal(size=(n, 2)), rng.normal(size=(n, 2)) + 6]


@pytest.mark.parametrize(("outlier", "starts"), [([100.0, -100.0], 20), ([0.0, 1e9], 3)])
def test_one_bad_row_changes_next_to_nothing_from_any_start(outlier, starts):
    """The fit without the row is the oracle. Of a Gaussian mixture the row takes a component, which collapses."""
    x = apart()
    clean = fit(StudentTMixture(2, 2), x, EM()).model
    for start in range(starts):
        model = fit(StudentTMixture(2, 2), np.r_[x, [outlier]], EM(1e-6), seed=start).model
        model.permute(align(clean, model, x))
        np.testing.assert_allclose(model.family.loc.detach(), clean.family.loc.detach(), atol=0.2)
        np.testing.assert_allclose(model.family.scale_tril.detach(), clean.family.scale_tril.detach(), atol=0.3)
        np.testing.assert_allclose(model.weights.detach(), clean.weights.detach(), atol=0.02)


OUTLIERS = {
    "several": lambda x: (StudentTMixture(2, 2), np.r_[x, [[50, -70], [-90, 40], [300, 0]]]),
    "prior": lambda x: (StudentTMixture(2, 2, prior="weak"), np.r_[x, [[100, -100]]]),
    "side by side": lambda x: (StudentTMixture(2, 2, dof=3.0), np.r_[x, [[100, -100]]]),
    "missing": lambda x: (StudentTMixture(2, 2), np.r_[x, [[100, np.nan]]]),
    "any distribution": lambda x: (Mixture(FamilyOf(dist.StudentT, 2, 2)), np.r_[x, [[100, -100]]]),
}


@pytest.mark.parametrize("given", OUTLIERS.values(), ids=OUTLIERS.keys())
def test_outliers_take_no_component(given):
    x = apart()
    model, rows = given(x)
    fitted = fit(model, rows, EM(1e-6), restarts=3).model
    np.testing.assert_allclose(fitted.weights.detach(), 0.5, atol=0.03)
    found = fitted.family.loc.detach()[fitted.family.loc.detach()[:, 0].argsort()]
    np.testing.assert_allclose(found, [x[:60].mean(0), x[60:].mean(0)], atol=0.3)


def test_a_start_without_outliers_is_that_of_a_gaussian():
    x = apart()
    for start in range(3):
        t, normal = (seed(kind(2, 2), x, start) for kind in (StudentTMixture, GaussianMixture))
        assert torch.equal(t.family.loc, normal.family.loc)
        assert torch.equal(t.family.scale_tril, normal.family.scale_tril)
