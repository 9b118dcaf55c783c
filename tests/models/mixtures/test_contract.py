"""One table of every mixture there is, and everything that must hold for each of them."""

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from reference import (
    COVARIANCES,
    PRIORS,
    covariances_of,
    data,
    log_evidence,
    log_joint,
    log_prior,
    random_mixture,
    responsibilities,
)

from lowerbound.inference import EM, fit
from lowerbound.models import Gaussian, LatentModel, Mixture, SupportsEM

X = data(n=60, d=3)
WEIGHTS = np.random.default_rng(1).integers(0, 4, len(X)).astype(float)  # some of them zero
LABELS = np.where(np.arange(len(X)) % 3 == 0, np.arange(len(X)) % 3, -1)  # every third row known
LABELS[::6] = 1

GIVEN = {
    "plain": (None, None),
    "weights": (WEIGHTS, None),
    "labels": (None, LABELS),
    "both": (WEIGHTS, LABELS),
}
given = pytest.mark.parametrize(("weights", "labels"), GIVEN.values(), ids=GIVEN.keys())


def empty_guide(x, weights=None, labels=None, rows=None):
    """Nothing is drawn: TraceEnum_ELBO sums z out of the model."""


def enumerated_guides(model, weights):
    """Both ways to sum z out with Pyro; in the model, Pyro itself refuses a scale for each row."""
    return [config_enumerate(model.guide), *([empty_guide] if weights is None else [])]


def flat_gradient(value, model):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))])


@given
@pytest.mark.parametrize("concentration", [None, 2.0])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_every_road_to_the_bound_arrives_at_the_brute_force_sum(covariance, prior, concentration, weights, labels):
    model = random_mixture(covariance, X, prior=prior, concentration=concentration)
    w = np.ones(len(X)) if weights is None else weights
    local, term = log_evidence(model, X, labels), log_prior(model, X)
    total = local @ w + term
    near = dict(rtol=1e-11, atol=1e-9)

    np.testing.assert_allclose(model.bound(X, labels).numpy(), local, **near)
    np.testing.assert_allclose(model.objective(X, labels).detach().numpy(), local, **near)
    np.testing.assert_allclose(model.global_term().item(), term, **near)
    statistics = model.expect(X, weights, labels)
    np.testing.assert_allclose(statistics.bound.item(), local @ w, **near)
    assert statistics.total_weight.item() == w.sum()
    for draw in range(3):  # whatever z is drawn, log p(x, z) - log q(z | x) is log p(x): no variance
        pyro.set_rng_seed(draw)
        np.testing.assert_allclose(-Trace_ELBO().loss(model.model, model.guide, X, weights, labels), total, **near)
    enumerated = TraceEnum_ELBO(max_plate_nesting=1)
    for guide in enumerated_guides(model, weights):
        np.testing.assert_allclose(-enumerated.loss(model.model, guide, X, weights, labels), total, **near)


@given
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_minibatch_stands_for_all_rows(covariance, weights, labels):
    """Local terms are scaled by rows / len(x), the prior is not: mean over disjoint halves = the whole."""
    model = random_mixture(covariance, X, prior="explicit", concentration=2.0)
    w = np.ones(len(X)) if weights is None else weights
    halves = []
    for part in (slice(0, 30), slice(30, 60)):
        args = [X[part], *(None if a is None else a[part] for a in (weights, labels))]
        halves.append(-Trace_ELBO().loss(model.model, model.guide, *args, 60))
    whole = log_evidence(model, X, labels) @ w + log_prior(model, X)
    np.testing.assert_allclose(np.mean(halves), whole, rtol=1e-11)


@pytest.mark.parametrize("labels", [None, LABELS], ids=["plain", "labels"])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_posterior_is_bayes_rule(covariance, labels):
    model = random_mixture(covariance, X)
    posterior = model.posterior(X, labels)
    assert posterior.batch_shape == (len(X),)
    np.testing.assert_allclose(posterior.probs.numpy(), responsibilities(model, X, labels), atol=1e-11)


@given
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_mean_gradient_of_every_elbo_is_that_of_the_objective(covariance, weights, labels):
    """4 standard errors on about 25 coordinates x 24 cases: a false alarm in 4 % of seeds, and the seed is fixed."""
    x = X[:30]
    weights, labels = (None if a is None else a[:30] for a in (weights, labels))
    model = random_mixture(covariance, x, prior="explicit", concentration=2.0)
    w = torch.ones(len(x), dtype=torch.float64) if weights is None else torch.as_tensor(weights)
    exact = flat_gradient(model.objective(x, labels) @ w + model.global_term(), model)
    rounding = 1e-10 * exact.abs().max()

    for guide in enumerated_guides(model, weights):
        loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(model.model, guide, x, weights, labels)
        assert ((flat_gradient(loss, model) + exact).abs() <= rounding).all()

    # the estimator's variance by hand: each row adds that of d log p(x, z) over z ~ p(z | x)
    share = torch.as_tensor(responsibilities(model, x, labels))
    joint = model.family.log_prob(torch.as_tensor(x)) + model.weights.log()
    parameters = list(model.parameters())
    slopes = torch.stack(
        [
            torch.cat([g.flatten() for g in torch.autograd.grad(cell, parameters, retain_graph=True)])
            for cell in joint.flatten()
        ]
    ).unflatten(0, joint.shape)  # (n, k, p)
    mean = (share.unsqueeze(-1) * slopes).sum(1, keepdim=True)
    variance = (w**2) @ (share.unsqueeze(-1) * (slopes - mean) ** 2).sum(1)

    draws, elbo = 25, Trace_ELBO()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        sampled = [
            -flat_gradient(elbo.differentiable_loss(model.model, model.guide, x, weights, labels), model)
            for _ in range(draws)
        ]
    assert (torch.stack(sampled).std(0) > 0).any()  # it is a sampled one
    assert ((sum(sampled) / draws - exact).abs() <= 4 * (variance / draws).sqrt() + rounding).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_samples_have_the_moments_of_the_mixture(covariance):
    """5 standard errors on 15 numbers x 6: a false alarm in 5e-5 of seeds."""
    model = random_mixture(covariance, X)
    weights, means = model.weights.detach().numpy(), model.family.loc.detach().numpy()
    within = covariances_of(model)
    n = 40_000
    rows, z = (t.numpy() for t in model.sample(n, seed=5, labels=True))
    assert rows.shape == (n, 3)

    share = np.bincount(z, minlength=3) / n
    assert (np.abs(share - weights) < 5 * np.sqrt(weights * (1 - weights) / n)).all()
    mean = weights @ means
    covariance_ = np.einsum("k,kij->ij", weights, within + np.einsum("ki,kj->kij", means - mean, means - mean))
    centred = rows - mean
    assert (np.abs(centred.mean(0)) < 5 * centred.std(0) / np.sqrt(n)).all()
    products = centred[:, :, None] * centred[:, None, :]
    assert (np.abs(products.mean(0) - covariance_) < 5 * products.std(0) / np.sqrt(n)).all()
    for j in range(3):  # each row belongs to the component it says it was drawn from
        own = rows[z == j] - means[j]
        assert (np.abs(own.mean(0)) < 5 * own.std(0) / np.sqrt(len(own))).all()
        squares = own[:, :, None] * own[:, None, :]
        assert (np.abs(squares.mean(0) - within[j]) < 5 * squares.std(0) / np.sqrt(len(own))).all()


@pytest.mark.parametrize(
    ("covariance", "scales"),  # of k = 3 components in d = 4 columns, besides 12 means and 2 weights
    [("full", 30), ("tied", 10), ("diag", 12), ("spherical", 3), ("tied-diag", 4), ("tied-spherical", 1)],
)
def test_free_parameters_by_hand(covariance, scales):
    assert Gaussian(3, 4, covariance).free_parameters() == 12 + scales
    assert Mixture(Gaussian(3, 4, covariance)).free_parameters() == 12 + scales + 2
    # a prior is not a parameter
    assert Mixture(Gaussian(3, 4, covariance, "weak"), 2.0).free_parameters() == 12 + scales + 2


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_relabelling_changes_nothing_but_the_labels(covariance):
    model = random_mixture(covariance, X, prior="explicit", concentration=2.0)
    before, term, parts = model.bound(X), model.global_term(), log_joint(model, X)
    statistics = model.expect(X)
    order = [2, 0, 1]
    model.permute(order)
    torch.testing.assert_close(model.bound(X), before, rtol=1e-13, atol=0)
    torch.testing.assert_close(model.global_term(), term, rtol=1e-13, atol=0)
    np.testing.assert_allclose(log_joint(model, X), parts[:, order], rtol=1e-13)
    # the origins move along, so that statistics taken before and after still mean the same
    torch.testing.assert_close(model.expect(X).total, statistics.total[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_parameters_may_be_set_before_any_data_is_seen(covariance):
    """A model that was never anchored is measured from zero in units of one, and is the same density."""
    anchored = random_mixture(covariance, X)
    plain = Mixture(Gaussian(3, 3, covariance))
    plain.weights = anchored.weights
    plain.family.loc = anchored.family.loc
    name = "scale_tril" if hasattr(plain.family, "scale_tril") else "scale"
    setattr(plain.family, name, getattr(anchored.family, name))
    np.testing.assert_allclose(plain.bound(X).numpy(), log_evidence(anchored, X), rtol=1e-11)
    np.testing.assert_allclose(plain.expect(X).bound.item(), log_evidence(anchored, X).sum(), rtol=1e-10)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_mixtures_keep_both_contracts(covariance):
    model = random_mixture(covariance, X)
    assert isinstance(model, LatentModel)
    assert isinstance(model, SupportsEM)


@given
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_gradient_norm_of_a_fit_is_what_finite_differences_say(covariance, prior, weights, labels):
    model = random_mixture(covariance, X, prior=prior, concentration=2.0)
    result = fit(model, X, EM(), weights=weights, labels=labels, max_passes=1)
    w = np.ones(len(X)) if weights is None else weights

    def bound():  # nats per row
        local = result.model.bound(X, labels).numpy() @ w
        return (local + result.model.global_term().item()) / w.sum()

    slopes, step = [], 1e-5
    for parameter in result.model.parameters():
        flat = parameter.data.view(-1)
        for i in range(len(flat)):
            middle = flat[i].item()
            flat[i] = middle + step
            up = bound()
            flat[i] = middle - step
            slopes.append((up - bound()) / (2 * step))
            flat[i] = middle
    assert np.linalg.norm(slopes) > 1e-3  # not at an optimum
    np.testing.assert_allclose(result.gradient_norm, np.linalg.norm(slopes), rtol=1e-6)
