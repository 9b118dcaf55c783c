"""log p(x) = ELBO + KL(q || posterior), for whatever q."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import COVARIANCES, data, log_evidence, log_joint, random_mixture, responsibilities
from scipy.special import rel_entr
from torch.distributions import Categorical, Normal

from lowerbound.inference import elbo_gap

X = data(n=40, d=3)
ROUNDING = 1e-11  # relative, of sums of a few numbers of size log p(x)


@pytest.mark.parametrize("covariance", COVARIANCES)
@settings(max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from([0.01, 0.3, 1.0, 30.0]))
def test_the_identity_holds_for_any_q(covariance, seed, concentration):
    model = random_mixture(covariance, X)
    q = np.random.default_rng(seed).dirichlet(np.full(3, concentration), size=len(X))
    gap = elbo_gap(model, X, torch.tensor(q))
    size = 1 + gap.evidence.abs() + gap.elbo.abs()
    assert ((gap.evidence - gap.elbo - gap.kl).abs() <= ROUNDING * size).all()
    assert (gap.kl >= -ROUNDING * size).all()
    # each of the three by its own definition, outside the library
    np.testing.assert_allclose(gap.evidence, log_evidence(model, X), rtol=1e-11)
    np.testing.assert_allclose(gap.kl, rel_entr(q, responsibilities(model, X)).sum(1), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(gap.elbo, (q * log_joint(model, X) - rel_entr(q, 1)).sum(1), rtol=1e-9)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_guide_leaves_no_gap(covariance):
    model = random_mixture(covariance, X)
    for q in (None, model.posterior(X), model.posterior(X).probs):
        gap = elbo_gap(model, X, q)
        assert (gap.kl.abs() <= ROUNDING * (1 + gap.evidence.abs())).all()
        torch.testing.assert_close(gap.elbo, model.bound(X), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("j", [0, 1, 2])
def test_a_hard_assignment_costs_minus_log_its_responsibility(j):
    model = random_mixture("full", X)
    one_hot = torch.zeros(len(X), 3, dtype=torch.float64)
    one_hot[:, j] = 1
    for q in (one_hot, Categorical(probs=one_hot)):
        gap = elbo_gap(model, X, q)
        joint = log_joint(model, X)[:, j]
        np.testing.assert_allclose(gap.elbo, joint, rtol=1e-11)
        np.testing.assert_allclose(gap.kl, log_evidence(model, X) - joint, rtol=1e-9, atol=1e-10)


def test_q_may_forbid_components_exactly():
    model = random_mixture("full", X)
    logits = torch.tensor([0.0, -torch.inf, 0.0], dtype=torch.float64).expand(len(X), 3)
    gap = elbo_gap(model, X, Categorical(logits=logits))
    assert torch.isfinite(gap.elbo).all()
    torch.testing.assert_close(gap.evidence, gap.elbo + gap.kl, rtol=1e-11, atol=1e-11)


def test_what_does_not_fit_is_refused():
    model = random_mixture("full", X)
    with pytest.raises(TypeError, match="expected a Categorical"):
        elbo_gap(model, X, Normal(torch.zeros(len(X)), torch.ones(len(X))))
    for n in (39, 41):
        with pytest.raises(ValueError, match=f"{n}.*40"):
            elbo_gap(model, X, torch.full((n, 3), 1 / 3))
    with pytest.raises(ValueError, match=r"2.*3"):
        elbo_gap(model, X, torch.full((len(X), 2), 0.5, dtype=torch.float64))
    with pytest.raises(ValueError, match="got 2 columns, expected 3"):
        elbo_gap(model, X[:, :2])
