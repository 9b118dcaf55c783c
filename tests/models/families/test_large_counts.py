"""Multinomial rows with sums of 1e12: densities against mpmath, fits that rise, draws in little memory."""

import mpmath
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lowerbound.inference import EM, fit
from lowerbound.models import BayesianMixture, Mixture, Multinomial, seed
from lowerbound.models.families.multinomial_draws import DirichletMultinomialDraws, counts_given_sum
from lowerbound.models.kernels.multinomial_density import multinomial_log_prob

mpmath.mp.dps = 50


def exact(x, p):
    x, p = [mpmath.mpf(int(v)) for v in x], [mpmath.mpf(v) for v in p]
    p = [v / sum(p) for v in p]
    terms = sum(v * mpmath.log(q) - mpmath.loggamma(v + 1) for v, q in zip(x, p, strict=True) if v)
    return float(mpmath.loggamma(sum(x) + 1) + terms)


def test_density_of_near_and_far_components_and_its_gradients():
    """Components that differ by 1e-6, and one far away: each keeps its digits, and so do their differences."""
    p = np.array([0.2, 0.3, 0.4, 0.1])
    p = np.stack(
        [p, p + 1e-6 * np.array([1, -1, 1, -1]), [0.7, 0.1, 0.1, 0.1], [0.5, 0.5, 0.0, 0.0], [0, 0.1, 0.8, 0.1]]
    )
    rng = np.random.default_rng(0)
    x = np.stack([*(rng.multinomial(10**12, q) for q in p), [10**12, 0, 0, 0], [0, 0, 0, 0]])
    logs = torch.tensor(p).log()
    own, rows = multinomial_log_prob(torch.tensor(x).double(), logs), torch.tensor(x).double()
    for i, row in enumerate(x):
        for k, q in enumerate(p):
            never = ((q == 0) & (row > 0)).any()
            wanted = -np.inf if never else exact(row, [mpmath.mpf(v) for v in q])
            assert float(own[i, k]) == pytest.approx(wanted, rel=1e-12, abs=2e-6), (i, k)
    batched = torch.vmap(lambda one: multinomial_log_prob(one[None], logs)[0])(rows)
    torch.testing.assert_close(batched, own, rtol=1e-12, atol=1e-5)
    x = torch.tensor([[3.0, 4.0, 5.0, 6.0], [9.0, 1.5, 2.0, 7.0]]).double().requires_grad_()
    some = logs[:3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, u: multinomial_log_prob(x, u.log_softmax(-1)), (x, some))
    torch.func.grad(lambda x: multinomial_log_prob(x, some).sum())(x)


def test_many_columns_take_the_memory_of_the_rows():
    """(n, k, d) numbers were made: here 8 times those of the table."""
    x = torch.as_tensor(np.random.default_rng(0).poisson(2000, (300, 1000)).astype(float))
    logs = torch.as_tensor(np.random.default_rng(1).dirichlet(np.full(1000, 5.0), 8)).log()
    sizes = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            sizes.append(made.numel() if isinstance(made, torch.Tensor) else 0)
            return made

    with Sizes():
        multinomial_log_prob(x, logs)
    assert max(sizes) <= x.numel()


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


def test_rows_of_a_dirichlet_multinomial_keep_their_own_sums():
    for totals in ([20000, 30000], [5, 30000], [3, 5]):
        drawn = DirichletMultinomialDraws(torch.ones(2, 4).double(), torch.tensor(totals)).sample((3,))
        assert drawn.sum(-1).tolist() == [totals] * 3
        assert (drawn >= 0).all()
