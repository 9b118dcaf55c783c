"""Bayesian mixtures where all is known exactly: one component, labels that are all known, rows so few that z is summed
over by brute force. Oracle: textbook updates and normalizers, in numpy and scipy (`conjugacy.py`)."""

import itertools

import numpy as np
import pytest
from conjugacy import CASES, close, hyperparameters
from scipy.special import betaln, digamma, gammaln, logsumexp

from lowerbound.inference import EM, fit
from lowerbound.models import BayesianMixture, Statistics, seed

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
SHARES = pytest.mark.parametrize(
    ("case", "stick_breaking"),
    [pytest.param(case, False, id=f"{name}-dirichlet") for name, case in CASES.items()]
    + [pytest.param(CASES[name], True, id=f"{name}-sticks") for name in ("poisson", "tied")],
)


def log_dirichlet(alpha):
    return gammaln(alpha).sum() - gammaln(alpha.sum())


def log_weights_z(counts, concentration, stick_breaking):
    """Normalizer of the posterior of weights given counts, less that of the prior: log p(z)."""
    if not stick_breaking:
        k = len(counts)
        return log_dirichlet(counts + concentration) - log_dirichlet(np.full(k, concentration))
    after = counts[::-1].cumsum()[::-1][1:]
    return (betaln(1 + counts[:-1], concentration + after) - betaln(1, concentration)).sum()


def expected_log_weights(counts, concentration, stick_breaking):
    if not stick_breaking:
        alpha = counts + concentration
        return digamma(alpha) - digamma(alpha.sum())
    taken, left = 1 + counts[:-1], concentration + counts[::-1].cumsum()[::-1][1:]
    logs = digamma(np.stack([taken, left])) - digamma(taken + left)
    return np.append(logs[0], 0) + np.append(0, logs[1].cumsum())


def total_bound(model, x):
    return (model.bound(x).sum() + model.global_term()).item()


@cases
def test_one_component_has_the_posterior_and_the_evidence_of_the_textbook(case):
    x = case.rows()
    found = fit(BayesianMixture(case.family(1), case.prior), x, EM(), max_passes=3)
    close(hyperparameters(found.model.beliefs), case.oracle.update(x, np.ones((len(x), 1))), rtol=1e-10, atol=1e-12)
    exact = case.log_evidence(x, np.zeros(len(x), int), 1)
    assert total_bound(found.model, x) == pytest.approx(exact, abs=1e-9)
    assert len(x) * found.bounds[-1].item() == pytest.approx(exact, abs=1e-9)


def given_rows(case, x, m):
    """A model of one component, with the posterior of the first m rows: the prior itself for none."""
    model = seed(BayesianMixture(case.family(1), case.prior), x)
    statistics = model.expect(x[: max(m, 1)])
    share = float(m > 0)
    model.maximize(Statistics(share * statistics.weight, share * statistics.total, *[statistics.bound] * 2))
    return model


@cases
def test_predictive_densities_multiply_to_the_evidence(case):
    """p(x) = product of p(x_i | x_1 .. x_i-1), the first from the prior alone."""
    x = case.rows(6)
    total = sum(given_rows(case, x, i).evidence(x[i : i + 1]).item() for i in range(len(x)))
    assert total == pytest.approx(case.log_evidence(x, np.zeros(len(x), int), 1), abs=1e-9)


@SHARES
def test_known_labels_leave_the_conjugate_posterior_given_them(case, stick_breaking):
    x, k = case.rows(), 3
    z = np.arange(len(x)) % 2 + (np.arange(len(x)) % 5 == 0)  # the middle one is the largest
    model = BayesianMixture(case.family(k), case.prior, 0.6, stick_breaking)
    found = fit(model, x, EM(), labels=z, max_passes=3)
    close(hyperparameters(found.model.beliefs), case.oracle.update(x, np.eye(k)[z]), rtol=1e-9, atol=1e-12)
    counts = np.bincount(z, minlength=k).astype(float)
    placed = -np.sort(-counts) if stick_breaking else counts
    exact = case.log_evidence(x, z, k) + log_weights_z(placed, 0.6, stick_breaking)
    assert len(x) * found.bounds[-1].item() == pytest.approx(exact, abs=1e-9)


@SHARES
def test_the_bound_is_the_expectation_it_says_and_below_the_evidence(case, stick_breaking):
    """Of few rows, after one M-step and after some more.

    E_q[log p(x, z, theta) - log q] = sum over all z of q(z) [E log p(x | z) + E log p(z) - log q(z)] - KL(q(theta) ||
    p), in which the KL follows from normalizers: E_q[log p(x, z | theta)] - KL = log z(posterior) - log z(prior) at the
    posterior of the expected counts.
    """
    n, k, concentration = 5, 2, 0.8
    x = case.rows(n)
    model = seed(BayesianMixture(case.family(k), case.prior, concentration, stick_breaking), x, 0)
    for passes in (1, 5):
        for _ in range(passes):
            r = model.posterior(x).probs.numpy()
            model.maximize(model.expect(x))
        order = model.shares.place.argsort().numpy() if stick_breaking else np.arange(k)
        counts = r.sum(0)[order]
        hyper = case.oracle.update(x, r)
        close(hyperparameters(model.beliefs), hyper, rtol=1e-8, atol=1e-10)
        log_weights = expected_log_weights(counts, concentration, stick_breaking)[order.argsort()]
        local = case.oracle.expected(hyper, x) + log_weights  # E_q[log p(x_i, z_i = k | theta)]
        q = np.exp(local - logsumexp(local, axis=1, keepdims=True))  # the E-step
        np.testing.assert_allclose(model.posterior(x).probs.numpy(), q, atol=1e-9)
        prior = case.oracle.log_z(case.oracle.update(x, np.zeros_like(r)))
        gained = case.oracle.log_z(hyper) - prior + case.oracle.carrier(x)
        gained += log_weights_z(counts, concentration, stick_breaking)
        divergence = (r * local).sum() - gained  # KL(q(theta) || p): E_q[log p(x, z | theta)] at r, less what is gained
        total = -divergence
        for z in itertools.product(range(k), repeat=n):
            own = q[np.arange(n), list(z)]
            total += own.prod() * (local[np.arange(n), list(z)] - np.log(np.maximum(own, 1e-300))).sum()
        assert total_bound(model, x) == pytest.approx(total, abs=1e-8)
    exact = []
    for z in itertools.product(range(k), repeat=n):
        counts = np.bincount(z, minlength=k).astype(float)[order]
        exact.append(case.log_evidence(x, np.array(z), k) + log_weights_z(counts, concentration, stick_breaking))
    evidence = logsumexp(exact)
    assert total_bound(model, x) <= evidence + 1e-9
    assert total_bound(model, x) > evidence - 5  # and not far below it
