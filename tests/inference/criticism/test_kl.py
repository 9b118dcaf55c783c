"""KL divergences against torch, sampling, high precision, and the properties that define a divergence."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal, Poisson, kl_divergence

from lowerbound.inference import kl

seeds = st.integers(0, 10**6)
dimensions = st.integers(1, 5)


def full(seed, d, batch=(), condition=1.0):
    rng = np.random.default_rng(seed)
    factor = np.tril(rng.standard_normal((*batch, d, d)))
    diagonal = np.arange(d)
    factor[..., diagonal, diagonal] = np.exp(0.5 * rng.standard_normal((*batch, d))) * condition ** -(diagonal / 2 / d)
    return MultivariateNormal(torch.tensor(rng.standard_normal((*batch, d))), scale_tril=torch.tensor(factor))


def diagonal(seed, d, batch=()):
    rng = np.random.default_rng(seed)
    loc, scale = rng.standard_normal((*batch, d)), np.exp(0.5 * rng.standard_normal((*batch, d)))
    return Independent(Normal(torch.tensor(loc), torch.tensor(scale)), 1)


def as_full(q):
    return MultivariateNormal(q.base_dist.loc, scale_tril=torch.diag_embed(q.base_dist.scale))


def categorical(seed, k, batch=()):
    rng = np.random.default_rng(seed)
    return Categorical(probs=torch.tensor(rng.dirichlet(np.ones(k), size=batch)))


def test_the_figure():
    a = MultivariateNormal(torch.zeros(2).double(), torch.tensor([[1, 0.5], [0.5, 2]], dtype=torch.float64))
    b = MultivariateNormal(torch.tensor([1.0, -1]).double(), torch.tensor([[2, -0.3], [-0.3, 1]], dtype=torch.float64))
    assert kl(a, b).item() == pytest.approx(1.059450533344, abs=1e-12)
    assert kl(b, a).item() == pytest.approx(1.613399130081, abs=1e-12)


MAKERS = {"full": full, "diagonal": diagonal, "categorical": categorical}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@given(seeds, dimensions)
def test_agrees_with_torch(make, seed, d):
    q, p = make(seed, d + 1, (4,)), make(seed + 1, d + 1, (4,))
    torch.testing.assert_close(kl(q, p), kl_divergence(q, p), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@given(seeds, dimensions)
def test_is_positive_unless_equal(make, seed, d):
    q, p = make(seed, d + 1), make(seed + 1, d + 1)
    assert kl(q, p) > 0
    assert abs(kl(q, q)) < 1e-14


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_agrees_with_sampling(make):
    """4 standard errors, 3 cases, seed fixed: a false alarm in 2e-4 of seeds."""
    q, p = make(1, 3), make(2, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z = q.sample((100_000,))
    ratio = q.log_prob(z) - p.log_prob(z)
    assert abs(ratio.mean() - kl(q, p)) < 4 * ratio.std() / math.sqrt(len(z))


@given(seeds, dimensions)
def test_a_diagonal_gaussian_is_a_full_one(seed, d):
    q, p = diagonal(seed, d, (3,)), diagonal(seed + 1, d, (3,))
    for a in (q, as_full(q)):
        for b in (p, as_full(p)):
            torch.testing.assert_close(kl(a, b), kl(q, p), rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(kl(q.base_dist, p.base_dist).sum(-1), kl(q, p), rtol=1e-13, atol=0)


@given(seeds, dimensions)
def test_affine_maps_change_nothing(seed, d):
    rng = np.random.default_rng(seed)
    a = torch.tensor(np.linalg.qr(rng.standard_normal((d, d)))[0] * np.exp(rng.standard_normal(d)))
    shift = torch.tensor(10 * rng.standard_normal(d))

    def mapped(g):
        return MultivariateNormal(a @ g.loc + shift, a @ g.covariance_matrix @ a.T)

    q, p = full(seed, d), full(seed + 1, d)
    torch.testing.assert_close(kl(mapped(q), mapped(p)), kl(q, p), rtol=1e-8, atol=1e-10)


def test_batches_broadcast():
    q, p = full(0, 3, (4, 1)), full(1, 3, (5,))
    one_by_one = [
        [kl_divergence(*(MultivariateNormal(g.loc[i], scale_tril=g.scale_tril[i]) for g, i in ((q, (a, 0)), (p, b))))
         for b in range(5)]
        for a in range(4)
    ]  # fmt: skip
    torch.testing.assert_close(kl(q, p), torch.tensor(one_by_one, dtype=torch.float64), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("condition", [1e4, 1e8, 1e12])
def test_ill_conditioned_covariances_keep_their_digits(condition):
    """Against 60 digits. The factors are given exactly, so only triangular solves round: cond(L) = sqrt(condition)."""
    mpmath = pytest.importorskip("mpmath")
    d = 4
    q, p = full(3, d, condition=condition), full(4, d, condition=condition)
    with mpmath.workdps(60):
        lq, lp = (mpmath.matrix(g.scale_tril.tolist()) for g in (q, p))
        inverse = lp**-1
        white = inverse * lq
        shift = inverse * mpmath.matrix((q.loc - p.loc).tolist())
        shift_exact = inverse * (mpmath.matrix(q.loc.tolist()) - mpmath.matrix(p.loc.tolist()))
        assert mpmath.norm(shift - shift_exact) < 1e-8 * (1 + mpmath.norm(shift))
        squares = sum(v**2 for v in white) + sum(v**2 for v in shift_exact)
        ratio = sum(mpmath.log(lq[i, i] / lp[i, i]) for i in range(d))
        truth = float((squares - d) / 2 - ratio)
    assert kl(q, p).item() == pytest.approx(truth, rel=1e-15 * condition**0.5 * 10)


def test_categories_that_cannot_occur():
    half, first = Categorical(probs=torch.tensor([0.5, 0.5, 0.0])), Categorical(probs=torch.tensor([1.0, 0.0, 0.0]))
    even = Categorical(probs=torch.ones(3) / 3)
    assert kl(first, half).item() == pytest.approx(math.log(2), rel=1e-6)  # 0 log 0 = 0
    assert kl(first, even).item() == pytest.approx(math.log(3), rel=1e-6)
    assert kl(half, half).item() == 0
    assert kl(half, first).item() == math.inf
    # a probability of exactly 0, not of the smallest float
    exact = Categorical(logits=torch.tensor([0.0, -math.inf], dtype=torch.float64))
    other = Categorical(logits=torch.tensor([-math.inf, 0.0], dtype=torch.float64))
    assert kl(exact, exact).item() == 0
    assert kl(exact, other).item() == math.inf


def test_gradients_pass_through():
    loc = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    p = full(0, 2)
    kl(MultivariateNormal(loc, scale_tril=p.scale_tril), p).backward()
    torch.testing.assert_close(loc.grad, -p.precision_matrix @ p.loc, rtol=1e-10, atol=1e-12)


def test_what_has_no_closed_form_is_refused():
    with pytest.raises(TypeError, match="got Poisson and Categorical, expected two Categoricals or two Gaussians"):
        kl(Poisson(torch.tensor(1.0)), categorical(0, 2))
    with pytest.raises(ValueError, match="q has 2 dimensions and p has 3, expected the same number"):
        kl(full(0, 2), full(0, 3))
    with pytest.raises(ValueError, match="q has 2 dimensions and p has 3, expected the same number"):
        kl(diagonal(0, 2), diagonal(0, 3))
    with pytest.raises(ValueError, match="q has 2 categories and p has 3, expected the same number"):
        kl(categorical(0, 2), categorical(0, 3))
