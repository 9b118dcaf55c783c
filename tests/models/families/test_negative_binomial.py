"""The two M-steps of the negative binomial's concentration, each by hand from scipy's density."""

import mpmath
import numpy as np
import pytest
import torch
from scipy import optimize, special, stats

from lowerbound.inference import EM, fit
from lowerbound.models import Mixture, NegativeBinomial, NegativeBinomialMixture, PoissonMixture

X = np.random.default_rng(0).negative_binomial([2, 6], [0.2, 0.5], size=(80, 2)).astype(float)
R = np.random.default_rng(1).dirichlet([1.0, 1.0], size=80)


def family(concentration):
    made = NegativeBinomial(2, 2)
    made.mean, made.concentration = torch.full((2, 2), 5.0), torch.as_tensor(concentration)
    return made


@pytest.mark.parametrize("length", [1.0, 0.5])
@pytest.mark.parametrize("concentration", [[[1.5, 9.0], [40.0, 0.3]], [[3e3, 2e2], [7.0, 1e4]]])
def test_one_step_by_hand(concentration, length):
    """A Newton step in log c of the profile log-likelihood; or the top of EM's bound, where the expected number of
    tables, sum over j < x of c0 / (c0 + j), stands for the counts."""
    made, before = family(concentration), np.array(concentration)
    made.maximize(torch.as_tensor(R.sum(0)), made.summarize(torch.as_tensor(X), torch.as_tensor(R)), length)
    means = R.T @ X / R.sum(0)[:, None]
    np.testing.assert_allclose(made.mean.detach(), means, rtol=1e-12)
    for k, d in np.ndindex(2, 2):
        c0, m, w = before[k, d], means[k, d], R[:, k] / R[:, k].sum()

        def profile(log_c, m=m, w=w, d=d):
            c = np.exp(log_c)
            return w @ stats.nbinom(c, c / (c + m)).logpmf(X[:, d])

        if length == 1:
            h, at = 1e-3, np.log(c0)
            slope = (profile(at + h) - profile(at - h)) / (2 * h)
            bend = (profile(at + h) - 2 * profile(at) + profile(at - h)) / h**2
            step = np.clip(-slope / bend, -2, 2) if bend < 0 else np.sign(slope)
            wanted = c0 * np.exp(step)
        else:
            tables = w @ (c0 * (special.digamma(X[:, d] + c0) - special.digamma(c0)))
            wanted = optimize.brentq(lambda c, s=tables, m=m: s / c - np.log1p(m / c), 1e-6, 1e9, xtol=1e-12)
        assert made.concentration[k, d].item() == pytest.approx(wanted, rel=2e-3 if c0 > 1e3 else 1e-4)


def test_it_is_never_below_poisson_and_ends_there_where_counts_vary_less():
    """Binomial counts: variance half the mean."""
    x = np.random.default_rng(2).binomial(10, 0.5, size=(300, 2))
    ours, poisson = (fit(model, x, EM()) for model in (NegativeBinomialMixture(1, 2), PoissonMixture(1, 2)))
    assert ours.converged and len(ours.bounds) < 50
    assert float(ours.bounds[-1]) == pytest.approx(float(poisson.bounds[-1]), abs=1e-6)
    assert (ours.model.family.concentration > 1e6).all()


def test_one_component_is_where_scipy_ends():
    result = fit(Mixture(NegativeBinomial(1, 2)), X, EM(tol=1e-13))
    for d in range(2):
        loss = lambda t, d=d: -stats.nbinom(np.exp(t[0]), 1 / (1 + np.exp(t[1]))).logpmf(X[:, d]).sum()  # noqa: E731
        best = optimize.minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-8})
        c, odds = np.exp(best.x)
        assert result.model.family.concentration[0, d].item() == pytest.approx(c, rel=1e-5)
        assert result.model.family.mean[0, d].item() == pytest.approx(c * odds, rel=1e-5)


def exact_log_prob(x, m, c):
    x, m, c = map(mpmath.mpf, (x, m, c))
    factorials = mpmath.loggamma(c + x) - mpmath.loggamma(c) - mpmath.loggamma(x + 1)
    return factorials + c * mpmath.log(c / (c + m)) + x * mpmath.log(m / (c + m))


@pytest.mark.parametrize("size", [1.0, 5e5, 2e6, 1e12, 1e18])
def test_density_of_large_counts(size):
    """From counts that vary as gamma variates to Poisson counts, near the mean and far from it; with mpmath at 60
    digits, to 1e-9 of the larger of log p and 20."""
    rng, mpmath.mp.dps = np.random.default_rng(0), 60
    for c in 10.0 ** rng.uniform(-6, 24, 40):
        near = 1 + rng.normal() * (1 / size + 1 / c) ** 0.5
        mean = max(size * (near if rng.random() < 0.7 else 10.0 ** rng.uniform(-6, 6)), 1e-3)
        made = NegativeBinomial(1, 1)
        made.mean, made.concentration = torch.tensor([[mean]]), torch.tensor([[c]])
        wanted = float(exact_log_prob(size, made.mean.item(), made.concentration.item()))
        assert made.log_prob(torch.tensor([[size]], dtype=torch.float64)).item() == pytest.approx(
            wanted, rel=1e-9, abs=2e-8
        )


@pytest.mark.parametrize("total", [1e12, 1e15, 1e18])
def test_fits_of_large_counts_end_at_the_gamma_limit(total):
    """Shares of a Dirichlet times the total: each column by scipy's Gamma fit, whose density is the probability."""
    x = np.floor(np.random.default_rng(1).dirichlet([2, 2, 2], size=80) * total)
    result = fit(NegativeBinomialMixture(1, 3), x, EM())
    shapes = [stats.gamma.fit(column, floc=0) for column in x.T]
    wanted = sum(stats.gamma.logpdf(column, *shape).mean() for column, shape in zip(x.T, shapes, strict=True))
    assert result.converged and result.gradient_norm < 1e-5
    assert float(result.bounds[-1]) == pytest.approx(wanted, abs=1e-6)
    np.testing.assert_allclose(result.model.family.concentration[0].detach(), [s[0] for s in shapes], rtol=1e-3)
