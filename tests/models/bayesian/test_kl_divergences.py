"""KL divergences of conjugate distributions against mpmath at 60 digits, up to hyperparameters of 1e16."""

import mpmath
import numpy as np
import pytest
import torch
from mpmath import digamma, log, loggamma
from torch.distributions import Beta, Dirichlet, Gamma

from lowerbound.inference import EM, fit
from lowerbound.models import BayesianMixture, Gaussian, Mixture, NormalInverseWishart, Poisson
from lowerbound.models.bayesian.inverse_wishart import InverseWishart
from lowerbound.models.bayesian.kl_divergences import divergence

mpmath.mp.dps = 60
PRIORS = [1e-3, 1.0, 30.0, 1e4, 1e8, 1e12, 1e16]


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def exact_dirichlet(q, p):
    q, p = [mpmath.mpf(v) for v in q], [mpmath.mpf(v) for v in p]
    normalizers = (
        loggamma(sum(q)) - loggamma(sum(p)) + sum(loggamma(b) - loggamma(a) for a, b in zip(q, p, strict=True))
    )
    return normalizers + sum((a - b) * (digamma(a) - digamma(sum(q))) for a, b in zip(q, p, strict=True))


def exact_gamma(a, rate_a, b, rate_b):
    a, rate_a, b, rate_b = map(mpmath.mpf, (a, rate_a, b, rate_b))
    shapes = (a - b) * digamma(a) - loggamma(a) + loggamma(b)
    return shapes + b * log(rate_a / rate_b) + a * (rate_b / rate_a - 1)


def exact_inverse_wishart(n, m, scales):
    """Of 2 by 2 matrices: scale of q is diagonal with entries scales[i] times those of p, which are 1."""
    n, m = mpmath.mpf(n), mpmath.mpf(m)
    parts = [loggamma(m / 2 - i) - loggamma(n / 2 - i) + (n - m) / 2 * digamma(n / 2 - i) for i in (0, mpmath.mpf(0.5))]
    return sum(parts) + sum(m / 2 * log(s) + n / 2 * (1 / mpmath.mpf(s) - 1) for s in scales)


@pytest.mark.parametrize("prior", PRIORS)
def test_divergences(prior):
    """Absolute in nats below 1e4, where a bound has as many digits; relative above."""
    counts = [60.0, 40.0, 0.5]
    close = {"rel": 1e-9, "abs": 1e-10}
    q = [prior + n for n in counts]
    own = divergence(Dirichlet(tensor(*q)), Dirichlet(torch.full((3,), prior, dtype=torch.float64)))
    assert float(own) == pytest.approx(float(exact_dirichlet(q, [prior] * 3)), **close)
    own = divergence(Beta(tensor(q[0]), tensor(q[1])), Beta(tensor(1.0), tensor(prior)))
    assert float(own) == pytest.approx(float(exact_dirichlet(q[:2], [1.0, prior])), **close)
    own = divergence(Gamma(tensor(q[0]), tensor(q[1])), Gamma(tensor(prior), tensor(prior)))
    assert float(own) == pytest.approx(float(exact_gamma(q[0], q[1], prior, prior)), **close)
    n, m, scales = prior + 70.0, prior + 2.0, [1 + 60 / (prior + 1), 1.25]
    factor = torch.diag(tensor(*scales).sqrt())
    own = divergence(InverseWishart(n, factor), InverseWishart(m, torch.eye(2, dtype=torch.float64)))
    assert float(own) == pytest.approx(float(exact_inverse_wishart(n, m, scales)), **close)


@pytest.mark.parametrize("sticks", [False, True], ids=["dirichlet", "sticks"])
def test_bound_has_a_limit_as_the_concentration_grows(sticks):
    """Equal weights that are certain: their KL is 0, and no bound exceeds the highest likelihood."""
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + 6]

    def bound(concentration):
        mixture = BayesianMixture(Gaussian(2, 2), concentration=concentration, stick_breaking=sticks)
        return float(fit(mixture, x, EM()).bounds[-1])

    limit = bound(1e8)
    assert [bound(c) for c in (1e16, 1e20)] == pytest.approx([limit, limit], abs=1e-5)
    assert limit < -3.5


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_bound_has_a_limit_as_the_degrees_of_freedom_grow(covariance):
    """A covariance of 1 and locations that are certain: log p(x) of a mixture of two equal components."""
    x = np.random.default_rng(1).normal(size=(50, 2))
    scale = {"full": np.eye(2), "tied": np.eye(2), "diag": np.ones(2), "spherical": 1.0}[covariance]
    prior = NormalInverseWishart([0.0, 0.0], 1e16, 1e16, 1e16 * scale)
    fitted = fit(BayesianMixture(Gaussian(2, 2, covariance, prior=prior), concentration=1e16), x, EM())
    assert float(fitted.bounds[-1]) == pytest.approx(-np.log(2 * np.pi) - (x**2).sum(1).mean() / 2, abs=1e-9)


def test_rates_that_have_no_digit_in_common():
    """1 + (1e-17 - 80) / 80 is 0 to rounding, and its logarithm minus infinity."""
    for rate in (1e-17, 1e-300):
        own = divergence(Gamma(tensor(20.0), tensor(80.0)), Gamma(tensor(1.0), tensor(rate)))
        assert float(own) == pytest.approx(float(exact_gamma(20, 80, 1, rate)), rel=1e-12)


def test_poisson_counts_of_1e16():
    """The bound of one component: log p(x) = log of the integral over the rate, by mpmath."""
    x = np.random.default_rng(0).poisson(1e16, size=(40, 1)).astype(float)
    model = fit(BayesianMixture(Poisson(1, 1)), x, EM()).model
    a, b = mpmath.mpf(1), 1 / mpmath.mpf(x.mean())
    total = sum(map(mpmath.mpf, x[:, 0]))
    wanted = a * log(b) - loggamma(a) + loggamma(a + total) - (a + total) * log(b + 40)
    wanted -= sum(loggamma(mpmath.mpf(v) + 1) for v in x[:, 0])
    own = (model.bound(x).sum() + model.global_term()).item()
    assert own == pytest.approx(float(wanted), abs=40 * 1e16 * 40 * 2e-16)  # the digits that x log x has


def test_concentrations_whose_sums_are_no_numbers():
    for make in (lambda c: BayesianMixture(Gaussian(2, 2), concentration=c), lambda c: Mixture(Gaussian(2, 2), c)):
        with pytest.raises(ValueError, match=r"concentration is 1e\+308, expected .* 1e\+?300"):
            make(1e308)
    x = np.random.default_rng(0).normal(size=(30, 2))
    assert fit(BayesianMixture(Gaussian(2, 2), concentration=1e300), x, EM(), max_passes=3).bounds.isfinite().all()
