"""What a posterior over parameters says: predictive densities by quadrature and by draws; draws by closed forms."""

import numpy as np
import pyro
import pytest
import torch
from conjugacy import CASES
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, infer_discrete
from scipy import stats

from lowerbound.inference import EM, fit
from lowerbound.models import BayesianMixture, Gaussian, NormalInverseWishart, Poisson

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
BOTH = pytest.mark.parametrize(
    ("case", "sticks"),
    [pytest.param(case, False, id=f"{name}-dirichlet") for name, case in CASES.items()]
    + [pytest.param(CASES[name], True, id=f"{name}-sticks") for name in ("bernoulli", "tied")],
)
FITTED = {}


def fitted(case, sticks=False, n=24):
    """Two components after some passes: made once, and not to be changed."""
    key = (id(case), sticks)
    if key not in FITTED:
        FITTED[key] = fit(BayesianMixture(case.family(2), case.prior, 0.8, sticks), case.rows(n), EM(), max_passes=15)
    return FITTED[key].model


@cases
def test_the_predictive_density_is_the_mean_over_draws(case):
    """4 standard errors of one pooled number for each of 13 families: a false alarm in 1e-3 of seeds."""
    model, x = fitted(case), case.rows(24)[:4]
    log = model.log_likelihood(model.draw(100, seed=1), x).numpy()
    ratio = np.exp(log - model.evidence(x).numpy()).mean(1)  # mean 1, if the closed form is right, for each draw
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio))
    assert ratio.std() < 2.5  # or the test would say nothing
    assert (model.bound(x) <= model.evidence(x) + 1e-12).all()  # Jensen


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "tied-diag", "spherical", "tied-spherical"])
def test_the_predictive_density_of_numbers_integrates_to_one(covariance):
    rng = np.random.default_rng(0)
    scale = 0.7 if "spherical" in covariance else [0.7] if "diag" in covariance else [[0.7]]
    prior = NormalInverseWishart([0.0], 0.5, 2.5, scale)
    x = np.concatenate([rng.normal(size=20), 4 + rng.normal(size=10)])[:, None]
    model = fit(BayesianMixture(Gaussian(2, 1, covariance), prior), x, EM(), max_passes=10).model
    t = np.linspace(-np.pi / 2, np.pi / 2, 20_001)[1:-1]  # x = 2 + 3 tan t, dx = 3 / cos^2 t: all numbers
    density = model.evidence((2 + 3 * np.tan(t))[:, None]).exp().numpy() * 3 / np.cos(t) ** 2
    assert np.trapezoid(density, t) == pytest.approx(1, abs=1e-6)


def test_the_predictive_density_of_counts_sums_to_one():
    case = CASES["poisson"]
    model = fit(BayesianMixture(Poisson(2, 1), pyro.distributions.Gamma(2.0, 0.5)), case.rows()[:, :1], EM()).model
    assert model.evidence(np.arange(400.0)[:, None]).exp().sum().item() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical", "poisson", "product"])
def test_missing_cells_are_integrated_out_of_the_predictive_density(name):
    model, x = fitted(CASES[name]), CASES[name].rows(24)[:3]
    counts = name == "poisson"
    t = np.arange(300.0) if counts else np.linspace(-np.pi / 2, np.pi / 2, 4001)[1:-1]
    cells, measure = (t, np.ones_like(t)) if counts else (1 + 3 * np.tan(t), 3 / np.cos(t) ** 2)
    for row in x:
        whole = np.repeat(row[None], len(t), 0)
        whole[:, 0] = cells
        density = model.evidence(whole).exp().numpy() * measure
        expected = density.sum() if counts else np.trapezoid(density, t)
        gone = row.copy()
        gone[0] = np.nan
        assert model.evidence(gone[None]).exp().item() == pytest.approx(expected, rel=1e-5)


@cases
def test_rows_that_are_sampled_have_the_predictive_density(case):
    """Of the probability integral of each column in turn that a new sample has under the mixture at draws: the mean of
    a column of a sample against that of samples of many mixtures; 5 standard errors, under 40 numbers: 2e-5."""
    model, n = fitted(case), 20_000
    rows, z = model.sample(n, seed=0, labels=True)
    assert rows.dtype == torch.float64
    share = torch.bincount(z, minlength=2) / n
    assert ((share - model.weights).abs() < 5 * (model.weights * (1 - model.weights) / n).sqrt()).all()
    theta = model.draw(60, seed=3)
    other = torch.cat([model.mixture({k: v[i] for k, v in theta.items()}).sample(50, seed=i) for i in range(60)])
    # heavy tails: medians, by the sign of what is above them
    middle = rows.median(0).values
    for above in (lambda x: (x > middle).double(), lambda x: (x >= middle).double()):
        each = above(other).unflatten(0, (60, 50)).mean(1)
        error = (each.var(0) / 60 + 0.25 / n).sqrt()
        assert ((above(rows).mean(0) - each.mean(0)).abs() < 5 * error).all()


@BOTH
def test_draws_have_the_means_of_the_posterior(case, sticks):
    """5 standard errors, on at most 20 numbers each: a false alarm in 1e-4 of seeds. Of covariances the precisions:
    `mean` has their expectation."""
    model, n = fitted(case, sticks), 80
    before = torch.random.get_rng_state()
    theta = model.draw(n, seed=4)
    again = model.draw(n, seed=4)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(theta[name], again[name]) for name in theta)
    if sticks:
        q = torch.stack([model.shares.taken, model.shares.left]).detach()
        mean_sticks = q[0] / q.sum(0)
        assert (theta["sticks"].mean(0) - mean_sticks).abs().max() < 5 * theta["sticks"].std(0).max() / n**0.5
    mean = {"weights": model.weights} | {name: value.detach() for name, value in model.beliefs.mean().items()}
    for name, expected in mean.items():
        own, wanted = theta[name], expected
        if name.startswith("covariance"):
            own, wanted = own.inverse(), wanted.inverse()
        if name.startswith("variance"):
            own, wanted = 1 / own, 1 / wanted
        assert ((own.mean(0) - wanted).abs() <= 5 * own.std(0) / n**0.5 + 1e-12).all(), name


def test_draws_of_the_weights_are_dirichlet():
    model = fitted(CASES["poisson"])
    alpha = model.shares.concentration.detach().numpy()
    theta, log_q = model.draw_with_density(150, seed=0)
    assert stats.kstest(theta["weights"][:, 0].numpy(), stats.beta(*alpha).cdf).pvalue > 1e-3
    a, b = (getattr(model.beliefs, f"rate_{name}").detach().numpy() for name in ("concentration", "rate"))
    expected = stats.beta(*alpha).logpdf(theta["weights"][:, 0]) + stats.gamma(a, scale=1 / b).logpdf(
        theta["rate"].numpy()
    ).sum((1, 2))
    np.testing.assert_allclose(log_q.numpy(), expected, rtol=1e-10, atol=1e-10)


@BOTH
def test_a_draw_is_a_mixture(case, sticks):
    """log p(x | theta), log p(theta) and the plain mixture against a trace of the Pyro model with theta put in."""
    model, x = fitted(case, sticks), case.rows(24)
    theta = model.draw(2, seed=5)
    log_likelihood, log_prior = model.log_likelihood(theta, x), model.log_prior(theta)
    assert log_likelihood.shape == (2, len(x))
    for i in range(2):
        one = {name: value[i] for name, value in theta.items()}
        plain = model.mixture(one)
        np.testing.assert_allclose(plain.bound(x).numpy(), log_likelihood[i].numpy(), rtol=1e-9, atol=1e-9)
        sites = {name: value for name, value in one.items() if not (sticks and name == "weights")}
        known = poutine.condition(model.model, data=sites)
        trace = poutine.trace(known).get_trace(x)
        own = sum(trace.nodes[name]["fn"].log_prob(trace.nodes[name]["value"]).sum() for name in sites)
        assert own.item() == pytest.approx(log_prior[i].item(), rel=1e-9, abs=1e-9)

        def nothing(x):
            """z is summed out of the model."""

        enumerated = -TraceEnum_ELBO(max_plate_nesting=1).loss(known, nothing, x)
        total = (log_likelihood[i].sum() + log_prior[i]).item()
        assert enumerated == pytest.approx(total, rel=1e-9, abs=1e-9)


def test_labels_by_draws_and_by_infer_discrete_are_those_of_bayes_rule():
    """4 standard errors on 8 rows, twice: a false alarm in 1e-3 of seeds."""
    case, n = CASES["full"], 80
    model, x = fitted(case), case.rows(24)[:8]
    theta = {name: value[0] for name, value in model.draw(1, seed=2).items()}
    exact = model.mixture(theta).posterior(x).probs[:, 1].numpy()
    known = poutine.condition(model.model, data=theta)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        draw = infer_discrete(known, first_available_dim=-2)
        found = torch.stack([draw(x) for _ in range(120)]).double().mean(0).numpy()
    assert (np.abs(found - exact) < 4 * np.sqrt(exact * (1 - exact) / 120) + 1e-9).all()
    z = model.draw_labels(x, n, seed=1)
    assert torch.equal(z, model.draw_labels(x, n, seed=1))
    thetas = model.draw(n, seed=7)
    each = torch.stack([model.mixture({k: v[i] for k, v in thetas.items()}).posterior(x).probs[:, 1] for i in range(n)])
    error = (each.var(0) / n + each.mean(0) * (1 - each.mean(0)) / n).sqrt()
    assert ((z.double().mean(0) - each.mean(0)).abs() < 4 * error + 1e-9).all()
