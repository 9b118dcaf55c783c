"""Priors: their density is scipy's, the M-step is the MAP that scipy finds, and they stop what runs away without."""

import numpy as np
import pytest
import torch
from families import CODES, LEVELS, TABLE
from pyro.infer import Trace_ELBO
from scipy import optimize, stats
from torch.distributions import Beta, Dirichlet, Gamma, Normal

from lowerbound.inference import EM, SVI, fit
from lowerbound.inference.engines.convergence import ROUNDING_FALL
from lowerbound.models import Collapse, ExponentialMixture, GammaMixture, Mixture

N = 60


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def dirichlet_density(alpha):
    def density(p):  # (k, d, levels), each column its own levels
        return sum(stats.dirichlet.logpdf(q[j, :n], alpha[:n]) for q in p["probs"] for j, n in enumerate(LEVELS))

    return density


def density_of(name, shape, rate):
    return lambda p: stats.gamma.logpdf(p[name], shape, scale=1 / np.asarray(rate)).sum()


# Explicit priors, unequal where they may be, and their log density in scipy.
ALPHA = [2.0, 1.5, 3.0, 1.2]
EXPLICIT = {
    "bernoulli": (
        Beta(vector(2, 3, 1.5, 4, 2), vector(5, 1.5, 2, 2, 3)),
        lambda p: stats.beta.logpdf(p["probs"], [2, 3, 1.5, 4, 2], [5, 1.5, 2, 2, 3]).sum(),
    ),
    "categorical": (Dirichlet(vector(*ALPHA)), dirichlet_density(np.array(ALPHA))),
    "multinomial": (
        Dirichlet(vector(*ALPHA)),
        lambda p: sum(stats.dirichlet.logpdf(q, ALPHA) for q in p["probs"]),
    ),
    "poisson": (Gamma(vector(4, 2), vector(1, 0.5)), density_of("rate", [4, 2], [1, 0.5])),
    "exponential": (Gamma(vector(2, 3, 4), 0.5), density_of("rate", [2, 3, 4], 0.5)),
    "gamma": (
        {"concentration": Gamma(vector(3, 2), vector(0.5, 1)), "rate": Gamma(2.0, vector(0.4, 3))},
        lambda p: density_of("concentration", [3, 2], [0.5, 1])(p) + density_of("rate", 2, [0.4, 3])(p),
    ),
    "negative-binomial": (Gamma(vector(3, 2), 0.5), density_of("concentration", [3, 2], 0.5)),
}
explicit = pytest.mark.parametrize("name", EXPLICIT)


@explicit
def test_the_log_prior_is_scipys(name):
    case, (prior, density) = TABLE[name], EXPLICIT[name]
    x, _ = case.data(N)
    model = case.set(case.model(prior=prior, concentration=2.5))
    wanted = density(case.parameters)
    np.testing.assert_allclose(model.family.log_prior().detach(), wanted, rtol=1e-12)
    wanted += stats.dirichlet.logpdf(model.weights.detach().numpy(), np.full(3, 2.5))
    np.testing.assert_allclose(model.global_term().detach(), wanted, rtol=1e-12)
    total = case.log_evidence(model, x).sum() + wanted  # it enters Pyro's bound once, whatever part of the rows is seen
    np.testing.assert_allclose(-Trace_ELBO().loss(model.model, model.guide, x), total, rtol=1e-11)
    np.testing.assert_allclose(  # an M-step of half the rows, twice as heavy, and the whole prior
        -Trace_ELBO().loss(model.model, model.guide, x[::2], None, None, N),
        2 * case.log_evidence(model, x[::2]).sum() + wanted,
        rtol=1e-11,
    )


@explicit
def test_the_m_step_is_the_maximum_a_posteriori_that_scipy_finds(name):
    """To 1e-6, from a start that is not near; column by column, by Nelder & Mead, which sees values alone."""
    case, (prior, density) = TABLE[name], EXPLICIT[name]
    x, _ = case.data(N)
    model = case.set(case.model(prior=prior))
    rows, share = torch.as_tensor(x), np.random.default_rng(4).dirichlet(np.ones(3), N)
    for _ in range(1 if case.exact else 400):  # the others climb to it
        r = torch.as_tensor(share)
        model.family.maximize(r.sum(0), model.family.summarize(rows, r))
    found = case.read(model)
    base = {key: value[:1] for key, value in found.items()}  # of the first component

    for j in range(x.shape[1] if name != "multinomial" else 1):

        def placed(v, j=j):
            p = {key: value.copy() for key, value in base.items()}
            if name == "bernoulli":
                p["probs"][0, j] = 1 / (1 + np.exp(-v[0]))
            elif "probs" in p:
                q = np.exp(np.append(v, 0.0))
                index = (0, slice(None)) if name == "multinomial" else (0, j, slice(LEVELS[j]))
                p["probs"][index] = q / q.sum()
            else:
                for i, key in enumerate(p):
                    p[key][0, j] = np.exp(v[i])
            return p

        def loss(v, placed=placed):
            p = placed(v)
            with np.errstate(divide="ignore"):
                log = case.law.log_density(p, x)[:, 0]
            return -(share[:, 0] @ log + density(p))

        size = LEVELS[j] - 1 if name == "categorical" else {"multinomial": 3}.get(name, len(base))
        options = {"xatol": 1e-10, "fatol": 1e-13, "maxiter": 4000, "maxfev": 4000}
        v = np.zeros(size)
        for _ in range(2):
            v = optimize.minimize(loss, v, method="Nelder-Mead", options=options).x
        for key, value in placed(v).items():
            np.testing.assert_allclose(found[key][0], value[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("prior", ["weak", "explicit"])
@explicit
def test_em_with_a_prior_never_falls(name, prior):
    case = TABLE[name]
    x, _ = case.data(N)
    model = case.set(case.model(prior=EXPLICIT[name][0] if prior == "explicit" else prior, concentration=1.5))
    em = fit(model, x, EM(tol=1e-11), max_passes=1500)
    bounds = em.bounds.numpy()
    assert (np.diff(bounds) / (1 + np.abs(bounds[1:]))).min() >= -ROUNDING_FALL
    assert bounds[-1] > bounds[0] + 1e-3
    assert em.converged
    assert em.gradient_norm < 1e-5
    term = float(em.model.global_term().detach())
    assert bounds[-1] == pytest.approx((case.log_evidence(em.model, x).sum() + term) / N, rel=1e-11)


@pytest.mark.drawn(4)
@explicit
def test_svi_with_a_prior_ends_where_em_has_little_to_add(name):
    """After 250 passes of SVI, EM finds no more than 1e-2 nats per row to add: there may be two optima."""
    case = TABLE[name]
    x, _ = case.data(N)
    model = case.set(case.model(prior=EXPLICIT[name][0], concentration=1.5))
    svi = fit(model, x, SVI("exact"), max_passes=250)
    first = fit(model, x, EM(), max_passes=1).bounds[0]
    assert float(svi.bounds[0]) == pytest.approx(float(first), rel=1e-12)
    ended, again = float(svi.bounds.max()), fit(svi.model, x, EM(tol=1e-7), max_passes=100)
    assert ended > float(first) + 1e-3
    assert ended <= float(again.bounds[-1]) + 1e-7 < ended + 1e-2


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "multinomial"])
def test_a_prior_keeps_probabilities_inside(name):
    case = TABLE[name]
    x, _ = case.data(9)
    free, held = (fit(case.model(prior=p), x, EM()).model.family.probs.detach() for p in (None, "weak"))
    own = torch.tensor(CODES[0] > 0) if name == "categorical" else slice(None)  # those of a column's levels
    assert (free[:, own] == 0).any() or name == "multinomial"
    assert ((held[:, own] > 1e-6) & (held[:, own] < 1 - 1e-6)).all()


RNG = np.random.default_rng(0)
ZEROS = np.concatenate([np.zeros((10, 1)), RNG.exponential(size=(40, 1))])
SPIKE = np.concatenate([np.full((10, 1), 50.0), RNG.gamma(2.0, size=(40, 1))])


@pytest.mark.parametrize(("make", "x"), [(ExponentialMixture, ZEROS), (GammaMixture, SPIKE)])
def test_a_weak_prior_stops_collapse(make, x):
    """Ten equal rows are a singularity: without a prior there is no bound from above."""
    with pytest.raises(Collapse, match=r"no upper bound .*give the model prior=\"weak\""):
        fit(make(2, 1), x, EM(), restarts=2, max_passes=5000)
    result = fit(make(2, 1, prior="weak"), x, EM(), max_passes=5000)
    assert result.converged
    assert np.isfinite(float(result.bounds[-1]))
    assert (result.model.family.moments().covariance > 1e-6).all()


WRONG = {
    "words": ("poisson", "strong", r"prior is 'strong', expected None, 'weak' or .*\{'rate': Gamma\(\.\.\.\)\}"),
    "another parameter": ("poisson", {"probs": Beta(2.0, 2.0)}, "a prior for 'probs', expected one for rate"),
    "another kind": ("poisson", Normal(0.0, 1.0), r"prior of rate is Normal.*expected a Gamma"),
    "a kind for two": ("gamma", Gamma(2.0, 1.0), r"expected None, 'weak' or distributions by parameter"),
    "another shape": ("poisson", Gamma(torch.ones(3), 1.0), r"concentration of shape \(3,\), expected .* \(2,\)"),
    "below 1": ("exponential", Gamma(0.5, 1.0), "concentration 0.5, expected at least 1: below it"),
    "Beta below 1": ("bernoulli", Beta(0.5, 2.0), "concentration1 0.5, expected at least 1"),
    "Dirichlet below 1": ("multinomial", Dirichlet(torch.full((4,), 0.5)), "expected at least 1"),
}


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(("name", "prior", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_prior(name, prior, words):
    with pytest.raises(ValueError, match=words):
        TABLE[name].model(prior=prior)


def test_weights_have_a_maximum_inside():
    with pytest.raises(ValueError, match=r"concentration is 0.5, expected at least 1"):
        Mixture(TABLE["poisson"].make(2), 0.5)


@pytest.mark.parametrize("name", ["poisson", "exponential"])
def test_a_weak_prior_before_data_says_so(name):
    case = TABLE[name]
    model = case.set(case.model(prior="weak"))
    with pytest.raises(ValueError, match=r'prior="weak" takes its scale from data.*fit or seed it'):
        model.global_term()
    fitted = fit(model, case.data(N)[0], EM(), max_passes=1).model
    assert torch.isfinite(fitted.global_term())
