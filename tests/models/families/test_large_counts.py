"""Multinomial rows with sums of 1e12: densities against mpmath, fits that rise, draws in little memory."""

import mpmath
import numpy as np
import pytest
import torch

from lowerbound.inference import EM, fit
from lowerbound.models import BayesianMixture, Mixture, Multinomial, seed
from lowerbound.models.families.multinomial_draws import counts_given_sum
from lowerbound.models.kernels.multinomial_density import multinomial_log_prob

mpmath.mp.dps = 50


def exact(x, p):
    x, p = [mpmath.mpf(int(v)) for v in x], [mpmath.mpf(v) for v in p]
    p = [v / sum(p) for v in p]
    terms = sum(v * mpmath.log(q) - mpmath.loggamma(v + 1) for v, q in zip(x, p, strict=True) if v)
    return float(mpmath.loggamma(sum(x) + 1) + terms)


@pytest.mark.parametrize("total", [7, 100, 10**6, 10**12])
def test_density(total):
    p = np.array([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]])
    x = np.random.default_rng(0).multinomial(total, p[0], 3)
    x[1] = [total, 0, 0]
    own = multinomial_log_prob(torch.tensor(x).double(), torch.tensor(p).log())
    wanted = [[exact(row, q) if not ((q == 0) & (row > 0)).any() else -np.inf for q in p] for row in x]
    np.testing.assert_allclose(own, wanted, rtol=1e-13, atol=1e-7)


def test_a_fit_of_large_counts_rises_and_draws():
    rng = np.random.default_rng(0)
    p, q = np.array([0.2, 0.3, 0.4, 0.1]), np.array([0.2, 0.3, 0.4, 0.1]) + 1e-6 * np.array([1, -1, 1, -1])
    x = np.r_[rng.multinomial(10**12, p, 40), rng.multinomial(10**12, q, 40)].astype(float)
    fitted = fit(Mixture(Multinomial(2, 4)), x, EM(), max_passes=50)
    assert float(fitted.bounds.diff().min()) > -1e-9
    for model in (fitted.model, seed(BayesianMixture(Multinomial(2, 4)), x)):
        assert model.sample(3, seed=0).sum(1).tolist() == [1e12] * 3


def test_moments_of_the_draws():
    """Mean n p and covariance n (diag(p) - p p'), also where a probability is 0: 5 standard errors."""
    torch.manual_seed(0)
    p = torch.tensor([0.2, 0.0, 0.3, 0.5, 0.0]).double()
    x = counts_given_sum(10**6, p.expand(20000, 5)) / 1e3
    wanted = torch.diag(p) - p.outer(p)
    assert ((x.mean(0) - 1e3 * p).abs() <= 5 * (p / 20000).sqrt()).all()
    assert ((torch.cov(x.T) - wanted).abs() <= 5 * (2 / 20000) ** 0.5 * 0.3).all()
