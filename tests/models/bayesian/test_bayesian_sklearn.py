"""Variational Bayes and scikit-learn's from the same start: the same fixed point, hyperparameter by hyperparameter."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import digamma
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture

from lowerbound.inference import EM, fit
from lowerbound.models import BayesianMixture, Gaussian, NormalInverseWishart, Statistics, seed

K, PASSES = 3, 120


def theirs(x, r, prior, concentration, covariance="full", process=False, exact=True):
    """scikit-learn's, from these responsibilities. exact: with the density that independent gammas have. (And with the
    weights of sticks that leave nothing over, as Blei & Jordan (2006) cut them off.)"""

    class Started(BayesianGaussianMixture):
        def _initialize_parameters(self, X, random_state, *args, **kwargs):
            self._initialize(X, r)

        def _estimate_log_weights(self, *args, **kwargs):
            logs = super()._estimate_log_weights(*args, **kwargs)
            if process:  # it gives the last component a stick, too, and what that leaves to no one: here it takes all
                taken, left = (part[-1] for part in self.weight_concentration_)
                logs[-1] -= digamma(taken) - digamma(taken + left)
            return logs

        def _estimate_log_prob(self, X, *args, **kwargs):
            log_prob = super()._estimate_log_prob(X, *args, **kwargs)
            if covariance == "full" or not exact:
                return log_prob
            dof, d = self.degrees_of_freedom_, X.shape[1]
            wishart = digamma(0.5 * (dof - np.arange(d)[:, None])).sum(0)  # of a full Wishart, for "diag", too
            return log_prob + 0.5 * (d * digamma(0.5 * dof) - wishart)

    model = Started(
        n_components=K,
        covariance_type=covariance,
        weight_concentration_prior_type=f"dirichlet_{'process' if process else 'distribution'}",
        weight_concentration_prior=concentration,
        mean_precision_prior=prior.location_weight,
        mean_prior=prior.location,
        degrees_of_freedom_prior=prior.dof,
        # of full covariances its prior is the scale matrix itself; of variances it is their scale
        covariance_prior=prior.scale,
        reg_covar=0.0,
        tol=0.0,
        max_iter=PASSES,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x)


def ours(x, r, prior, concentration, covariance="full", process=False):
    model = seed(BayesianMixture(Gaussian(K, x.shape[1], covariance), prior, concentration, process), x)
    if process:
        model.shares.place = torch.arange(K)
    rows, share = torch.as_tensor(x), torch.as_tensor(r)
    zero = torch.zeros((), dtype=torch.float64)
    total = model.family.summarize(rows, share)
    model.maximize(Statistics(share.sum(0), total, zero, zero))
    for _ in range(PASSES):
        model.maximize(model.expect(x))
    return model


def gaps(a, b, covariance):
    """Differences of hyperparameters, in standard deviations of the data where they have units (which are near 1)."""
    beliefs = a.beliefs
    scale = getattr(beliefs.likelihood, beliefs.likelihood.shape.name)
    spread = scale @ scale.mT if covariance == "full" else scale**2
    found = {
        "mean_precision_": beliefs.location_weight,
        "means_": beliefs.likelihood.loc,
        "degrees_of_freedom_": beliefs.dof,
        "covariances_": spread,
    }
    if hasattr(a.shares, "concentration"):
        found["weight_concentration_"] = a.shares.concentration
        pairs = {name: (value, getattr(b, name)) for name, value in found.items()}
    else:
        pairs = {name: (value, getattr(b, name)) for name, value in found.items()}
        taken, left = b.weight_concentration_
        pairs |= {"taken": (a.shares.taken, taken[:-1]), "left": (a.shares.left, left[:-1])}
    return {name: np.abs(one.detach().numpy() - other).max() for name, (one, other) in pairs.items()}


def rows(d, sizes=(60, 40, 25), seed=0):
    """Three clusters that overlap, the larger first, and soft responsibilities near the truth."""
    rng = np.random.default_rng(seed)
    z = np.repeat(np.arange(K), sizes)
    x = rng.normal(size=(len(z), d)) * [1.0, 0.6, 1.4][:d] + 3.0 * np.stack([z, -z % K, z**2 % K], 1)[:, :d]
    return x, 0.8 * np.eye(K)[z] + 0.2 / K


def prior_of(d, covariance):
    scale = 0.6 * np.eye(d) + 0.1 if covariance == "full" else np.array([0.6, 0.9, 1.2])[:d]
    return NormalInverseWishart(np.full(d, 0.5), 0.3, d + 1.5, scale)


@pytest.mark.parametrize("concentration", [0.1, 2.0])
@pytest.mark.parametrize(
    ("covariance", "d", "process"),
    [("full", 1, False), ("full", 3, False), ("diag", 1, False), ("diag", 3, False), ("full", 2, True)],
)
def test_the_fixed_point_is_that_of_scikit_learn(covariance, d, process, concentration):
    x, r = rows(d)
    prior = prior_of(d, covariance)
    them = theirs(x, r, prior, concentration, covariance, process)
    us = ours(x, r, prior, concentration, covariance, process)
    assert max(gaps(us, them, covariance).values()) < 1e-9
    np.testing.assert_allclose(us.posterior(x).probs.numpy(), them.predict_proba(x), atol=1e-6)
    if process:
        np.testing.assert_array_equal(us.shares.place.numpy(), range(K))  # the larger came first, and still does


def test_for_diagonal_covariances_scikit_learn_takes_the_digammas_of_a_full_wishart():
    """Which E[log precision] of independent gammas is not, from two columns on: its fixed point is another one. In one
    column the two are the same."""
    for d, apart in ((1, False), (3, True)):
        x, r = rows(d)
        prior = prior_of(d, "diag")
        as_it_is = theirs(x, r, prior, 1.0, "diag", exact=False)
        us = ours(x, r, prior, 1.0, "diag")
        assert (max(gaps(us, as_it_is, "diag").values()) > 1e-3) == apart


def test_the_fit_of_the_public_road_is_as_good(faithful):
    """`fit` by EM, restarts and all, on rows in their own units: the bound is the one that scikit-learn's own start,
    taken on to the fixed point, has."""
    x = faithful.to_numpy()
    prior = NormalInverseWishart(x.mean(0), 0.1, 4.0, np.cov(x.T))
    found = fit(BayesianMixture(Gaussian(K, 2), prior, 0.5), x, EM(), restarts=3)
    r = np.random.default_rng(0).dirichlet(np.ones(K), len(x))
    r = 0.3 * r + 0.7 * np.eye(K)[(x[:, 0] > 3).astype(int)]
    them = theirs(x, r, prior, 0.5)
    there = ours(x, them.predict_proba(x), prior, 0.5)
    best = (there.bound(x).sum() + there.global_term()).item()
    assert len(x) * found.bounds[-1].item() > best - 1e-5
