"""Missing cells: marginal likelihood, EM on what is seen, imputation; against marginals written out in scipy."""

import numpy as np
import pytest
import torch
from families import TABLE, WEIGHTS, Codes, Columns, Normal, Together
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from reference import COVARIANCES, data, explicit_prior
from scipy import stats
from scipy.optimize import minimize
from scipy.special import logsumexp

from lowerbound.datasets import load
from lowerbound.inference import EM, SVI, fit
from lowerbound.models import (
    Bernoulli,
    Categorical,
    Gaussian,
    GaussianMixture,
    Mixture,
    Poisson,
    Product,
    seed,
)
from lowerbound.models.kernels import gaussian_conditional as conditional

CASES = [name for name, case in TABLE.items() if name not in ("multinomial", "kmeans")]
FAITHFUL = load("faithful").to_numpy()
IRIS = load("iris").iloc[:, :4].to_numpy(dtype=float)


def torn(x, share=0.25, seed=0):
    """x with this share of its cells missing at random, one row whole and one without any cell."""
    gone = np.random.default_rng(seed).random(x.shape) < share
    gone[0], gone[1] = False, True
    return np.where(gone, np.nan, x)


def seen_log_density(law, p, x):
    """log p(seen cells of each row | k), (n, k), by the marginal distributions of scipy."""
    if isinstance(law, Columns):
        at = law.make({name: value[None] for name, value in p.items()})
        log = at.logpmf if isinstance(at.distribution, stats.rv_discrete) else at.logpdf
        return np.nansum(np.where(np.isnan(x)[:, None], np.nan, log(x[:, None])), axis=-1)
    if isinstance(law, Codes):
        with np.errstate(divide="ignore"):
            cells = [[np.log(p["probs"][:, j, int(v)]) for j, v in enumerate(r) if v == v] for r in x]
        return np.stack([np.sum(row, axis=0) + np.zeros(len(p["probs"])) for row in cells])
    if isinstance(law, Together):
        return sum(seen_log_density(part, own, x[:, columns]) for part, own, columns in law.each(p))
    assert isinstance(law, Normal)
    mean, _ = law.moments(p)
    k, d = mean.shape
    if "scale_tril" in p:
        matrices = [f @ f.T for f in p["scale_tril"]]
    else:
        matrices = [np.diag(s**2) for s in np.broadcast_to(p["scale"], (k, d))]
    dof = p.get("dof", law.dof)
    found = np.zeros((len(x), k))
    for i, row in enumerate(x):
        o = ~np.isnan(row)
        for j in range(k if o.any() else 0):
            own = (mean[j][o], matrices[j][np.ix_(o, o)])
            each = stats.multivariate_normal(*own) if dof is None else stats.multivariate_t(*own, dof[j])
            found[i, j] = each.logpdf(row[o])
    return found


def log_evidence(case, model, x, labels=None):
    joint = seen_log_density(case.law, case.read(model), x) + np.log(model.weights.detach().numpy())
    if labels is not None:
        joint = np.where((labels[:, None] < 0) | (labels[:, None] == np.arange(joint.shape[1])), joint, -np.inf)
    return logsumexp(joint, axis=1)


def gaussian_evidence(model, x):
    """log p(seen cells) of a Gaussian mixture, row by row in scipy."""
    moments, weights = model.family.moments(), model.weights.detach().numpy()
    found = []
    for row in x:
        o = ~np.isnan(row)
        joint = np.log(weights)
        if o.any():
            joint = joint + [
                stats.multivariate_normal(m[o], c[np.ix_(o, o)]).logpdf(row[o])
                for m, c in zip(moments.mean.numpy(), moments.covariance.numpy(), strict=True)
            ]
        found.append(logsumexp(joint))
    return np.array(found)


# the bound


@pytest.mark.parametrize("name", CASES)
def test_bound_is_the_marginal_density_of_what_is_seen(name):
    case = TABLE[name]
    x = torn(case.data()[0])
    labels = np.where(np.arange(len(x)) % 4 == 0, np.arange(len(x)) % 3, -1)
    weights = np.random.default_rng(1).random(len(x)) + 0.5
    model = case.set(case.model())
    expected = log_evidence(case, model, x)
    np.testing.assert_allclose(model.bound(x), expected, atol=1e-9)
    np.testing.assert_allclose(model.evidence(x), expected, atol=1e-9)
    labelled = log_evidence(case, model, x, labels)
    statistics = model.expect(x, weights, labels)
    assert float(statistics.bound) == pytest.approx(weights @ labelled, abs=1e-8)
    assert float(statistics.weight.sum()) == pytest.approx(weights.sum())
    joint = seen_log_density(case.law, case.read(model), x) + np.log(WEIGHTS)
    np.testing.assert_allclose(model.posterior(x).probs, np.exp(joint - expected[:, None]), atol=1e-9)
    assert float(expected[1]) == pytest.approx(0, abs=1e-12)  # the row without any cell


@pytest.mark.parametrize("name", CASES)
def test_pyro_pair_has_the_same_bound(name):
    case = TABLE[name]
    x, weights = torn(case.data(30)[0]), np.linspace(0.5, 2, 30)
    model = case.set(case.model())
    expected = weights @ log_evidence(case, model, x)
    x, weights = torch.as_tensor(x), torch.as_tensor(weights)
    with torch.random.fork_rng():
        sampled = -Trace_ELBO().loss(model.model, model.guide, x, weights)
        enumerated = -TraceEnum_ELBO().loss(model.model, config_enumerate(model.guide), x, weights)
    # StudentT and NegativeBinomial: Pyro's own densities of the rows without gaps
    assert sampled == pytest.approx(expected, abs=1e-6)
    assert enumerated == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_finite_and_that_of_finite_differences(name):
    case = TABLE[name]
    x = torch.as_tensor(torn(case.data(30)[0]))
    model = case.set(case.model())
    parameters = list(model.parameters())
    value = model.objective(x).sum()
    slopes = torch.autograd.grad(value, parameters)
    for parameter, slope in zip(parameters, slopes, strict=True):
        assert torch.isfinite(slope).all()
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        direction = torch.where(parameter.detach().isinf(), 0.0, direction)
        kept = parameter.data.clone()
        ends = []
        for step in (1e-5, -1e-5):
            parameter.data = kept + step * direction
            ends.append(float(model.bound(x).sum()))
        parameter.data = kept
        assert float((slope * direction).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("covariance", COVARIANCES)
@settings(deadline=None, max_examples=4)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.1, 0.5, 0.8]), cells=st.sampled_from([1, 40, 1 << 22]))
def test_rows_add_however_they_are_cut(covariance, seed, share, cells):
    """Few and many patterns, one at a time or all together: the same sums, and those of brute force."""
    x = torn(data(40, 3, seed % 7), share, seed)
    model = GaussianMixture(2, 3, covariance)
    model.initialize(x, None, torch.Generator().manual_seed(seed))
    old = conditional.CELLS
    try:
        conditional.CELLS = cells
        whole = model.expect(x)
        parts = model.expect(x[:13]) + model.expect(x[13:])
    finally:
        conditional.CELLS = old
    again = model.expect(np.concatenate([x[20:], x[:20]]))
    for other in (parts, again):
        for name in ("weight", "total", "bound"):
            a, b = getattr(whole, name), getattr(other, name)
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(a.abs().max()))
    assert float(whole.bound) == pytest.approx(gaussian_evidence(model, x).sum(), rel=1e-9, abs=1e-8)


@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_columns_of_very_different_units_and_far_places(covariance):
    x = data(60, 3)
    gap = torn(x)
    scale, shift = np.array([1e-6, 1.0, 1e6]), np.array([1e8, -1e5, 3e9]) * np.array([1e-6, 1.0, 1e6])
    one = fit(GaussianMixture(2, 3, covariance), gap, EM(), max_passes=30)
    other = fit(GaussianMixture(2, 3, covariance), gap * scale + shift, EM(), max_passes=30)
    seen = (~np.isnan(gap)).sum(0) @ np.log(scale) / len(gap)
    # a shift of 1e8 leaves 8 digits of the data
    assert float(other.bounds[-1]) == pytest.approx(float(one.bounds[-1]) - seen, abs=1e-5)


# EM


@pytest.mark.parametrize("prior", [None, "weak"])
@pytest.mark.parametrize("name", CASES)
def test_em_rises_to_a_point_without_slope(name, prior):
    case = TABLE[name]
    if name == "product":  # has the priors of its parts
        prior = None
    x = torn(case.data(90)[0], 0.2)
    weights = np.random.default_rng(2).random(len(x)) + 0.5
    found = fit(
        case.set(case.model(prior=prior)),
        x,
        EM(tol=1e-12),
        weights=weights,
        max_passes=30 if name == "laplace" else 300,
    )
    assert (found.bounds[1:] - found.bounds[:-1]).min() > -1e-10 * (1 + found.bounds.abs().max())
    assert float(found.bounds[-1]) > float(found.bounds[0])
    if name != "laplace":  # ends at kinks
        assert found.gradient_norm < (2e-5 if found.converged else 1e-3)
    if prior is None:
        expected = weights @ log_evidence(case, found.model, x) / weights.sum()
        # scipy's multivariate_t loses digits where the degrees of freedom go to 1e8
        assert float(found.bounds[-1]) == pytest.approx(expected, abs=1e-7 if name.startswith("student") else 1e-9)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize(("x", "k"), [(FAITHFUL, 2), (IRIS, 3)], ids=["faithful", "iris"])
def test_a_fifth_of_the_cells_of_a_real_table(covariance, x, k):
    gap = torn(x, 0.2)
    found = fit(GaussianMixture(k, x.shape[1], covariance), gap, EM(), restarts=2)
    assert found.converged
    assert (found.bounds[1:] - found.bounds[:-1]).min() > -1e-11 * (1 + found.bounds.abs().max())
    expected = gaussian_evidence(found.model, gap)
    assert float(found.bounds[-1]) * len(x) == pytest.approx(expected.sum(), abs=1e-8)
    np.testing.assert_allclose(found.model.bound(gap), expected, atol=1e-10)


def test_one_gaussian_is_the_textbook_likelihood():
    """K = 1 against a general optimizer of the observed-data likelihood in other coordinates."""
    x = torn(IRIS[:60, :2], 0.3)
    found = fit(GaussianMixture(1, 2), x, EM(tol=1e-13), max_passes=2000)

    def loss(p):
        factor = np.array([[np.exp(p[2]), 0], [p[3], np.exp(p[4])]])
        mean, matrix = p[:2], factor @ factor.T
        return -sum(
            stats.multivariate_normal(mean[o], matrix[np.ix_(o, o)]).logpdf(r[o])
            for r, o in ((r, ~np.isnan(r)) for r in x)
            if o.any()
        )

    best = minimize(loss, [5.0, 3.0, -1.0, 0.0, -1.0], method="BFGS", options={"gtol": 1e-6})
    assert float(found.bounds[-1]) * len(x) == pytest.approx(-best.fun, abs=1e-6)
    np.testing.assert_allclose(found.model.family.loc[0].detach(), best.x[:2], atol=1e-4)


def test_independent_columns_are_fitted_by_what_is_seen_of_each():
    """K = 1: the mean of the seen cells of each column, in closed form."""
    for name in ("bernoulli", "poisson", "exponential", "categorical"):
        case = TABLE[name]
        x = torn(case.data(200)[0], 0.4)
        model = fit(case.model(1), x, EM(tol=1e-14), max_passes=500).model
        (found,) = case.read(model).values()
        if name == "categorical":
            seen = [column[~np.isnan(column)] for column in x.T]
            share = [np.mean(seen[j] == level) for j, n in enumerate([2, 4, 3, 3]) for level in range(n)]
            np.testing.assert_allclose(found[0][model.family.mask.numpy()], share, atol=1e-6)
        else:
            mean = np.nanmean(x, axis=0)
            np.testing.assert_allclose(found[0], 1 / mean if name == "exponential" else mean, rtol=1e-6)


@pytest.mark.parametrize("name", ["poisson", "gaussian"])
def test_svi_climbs_to_the_same_place(name):
    x = torn(FAITHFUL[:80] if name == "gaussian" else TABLE[name].data(90)[0], 0.2)
    start = GaussianMixture(2, 2) if name == "gaussian" else TABLE[name].set(TABLE[name].model())
    em = fit(start, x, EM(tol=1e-12), max_passes=2000)
    svi = fit(start, x, SVI("exact"), max_passes=400)
    assert float(svi.bounds[-1]) == pytest.approx(float(em.bounds[-1]), abs=1e-3)


def test_rows_without_any_cell_count_and_say_nothing():
    gap = torn(FAITHFUL, 0.2)
    empty = np.isnan(gap).all(1)
    start = seed(GaussianMixture(2, 2), gap)
    kept, found = (fit(start, x, EM(tol=1e-13)) for x in (gap[~empty], gap))
    torch.testing.assert_close(found.model.family.loc, kept.model.family.loc, rtol=1e-5, atol=1e-6)
    assert float(found.bounds[-1]) * len(gap) == pytest.approx(float(kept.bounds[-1]) * (~empty).sum(), abs=1e-6)
    model = found.model
    assert (model.bound(gap[empty]).abs() < 1e-12).all()
    torch.testing.assert_close(model.posterior(gap[empty]).probs[0], model.weights.detach())
    values = model.impute(gap[empty]).values[0]
    torch.testing.assert_close(values, model.weights.detach() @ model.family.loc.detach())


def test_everything_at_once_against_brute_force():
    """Row weights, missing cells, known labels, priors and columns of four kinds, through EM's own steps."""
    rng = np.random.default_rng(5)
    n = 120
    z = rng.integers(0, 2, n)
    x = np.column_stack(
        [
            rng.normal(3 * z, 1.0),
            rng.normal(-2 * z, 0.5),
            rng.poisson(2 + 6 * z),
            rng.random(n) < 0.2 + 0.6 * z,
            (rng.random(n) * (2 + z)).astype(int),
        ]
    ).astype(float)
    x = torn(x, 0.25, 7)
    weights = rng.integers(1, 4, n) / 2.0
    labels = np.where(rng.random(n) < 0.3, z, -1)
    gauss = explicit_prior("full", 2, np.nan_to_num(x[:, :2]))
    family = Product(
        Gaussian(2, 2, prior=gauss),
        Poisson(2, 1, prior=torch.distributions.Gamma(2.0, 0.5)),
        Bernoulli(2, 1, prior=torch.distributions.Beta(1.5, 2.0)),
        Categorical(2, [3], prior=torch.distributions.Dirichlet(torch.tensor([1.2, 1.5, 2.0], dtype=torch.float64))),
        columns=[[0, 1], [2], [3], [4]],
    )
    found = fit(Mixture(family, concentration=1.7), x, EM(tol=1e-12), weights=weights, labels=labels)
    model, parts = found.model, found.model.family.parts
    w = model.weights.detach().numpy()
    mean, tril = parts[0].loc.detach().numpy(), parts[0].scale_tril.detach().numpy()
    rate, p, q = (part.detach().numpy() for part in (parts[1].rate, parts[2].probs, parts[3].probs))
    joint = np.tile(np.log(w), (n, 1))
    for i, row in enumerate(x):
        o = ~np.isnan(row[:2])
        for k in range(2):
            if labels[i] >= 0 and labels[i] != k:
                joint[i, k] = -np.inf
            if o.any():
                matrix = (tril[k] @ tril[k].T)[np.ix_(o, o)]
                joint[i, k] += stats.multivariate_normal(mean[k][o], matrix).logpdf(row[:2][o])
            if row[2] == row[2]:
                joint[i, k] += stats.poisson(rate[k, 0]).logpmf(row[2])
            if row[3] == row[3]:
                joint[i, k] += stats.bernoulli(p[k, 0]).logpmf(row[3])
            if row[4] == row[4]:
                joint[i, k] += np.log(q[k, 0, int(row[4])])
    local = logsumexp(joint, axis=1)
    np.testing.assert_allclose(model.bound(x, labels), local, atol=1e-9)
    prior = stats.dirichlet(np.full(2, 1.7)).logpdf(w)
    prior += float(parts[0].log_prior().detach())  # against scipy in test_priors
    prior += stats.gamma(2.0, scale=2.0).logpdf(rate).sum() + stats.beta(1.5, 2.0).logpdf(p).sum()
    prior += sum(stats.dirichlet([1.2, 1.5, 2.0]).logpdf(q[k, 0]) for k in range(2))
    assert float(found.bounds[-1]) == pytest.approx((weights @ local + prior) / weights.sum(), abs=1e-9)
    assert (found.bounds[1:] - found.bounds[:-1]).min() > -1e-11
    assert found.gradient_norm < 1e-5
    times = (2 * weights).astype(int)
    again = model.expect(np.repeat(x, times, axis=0), None, np.repeat(labels, times))
    torch.testing.assert_close(again.total, 2 * model.expect(x, weights, labels).total)
