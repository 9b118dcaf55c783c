"""The Pyro pair of a variational autoencoder, and its bound: Pyro's own estimators, draw by draw."""

import copy

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from pyro import poutine
from pyro.infer import SVI as PyroSVI
from pyro.infer import Trace_ELBO
from reference import bits
from test_vae import covariances, kinds, seeds
from torch import nn
from vae_oracles import (
    PIXELS,
    X,
    decoder_of,
    random_linear,
    small,
)

from lowerbound.models import (
    PPCA,
    VAE,
    BernoulliDecoder,
    LatentModel,
    SupportsEM,
    linear_vae,
)
from lowerbound.models.continuous.draws import kl_to_prior
from lowerbound.models.continuous.row_noise import row_noise

# the bound


@kinds
@covariances
def test_the_bound_is_the_same_each_time_and_leaves_the_random_state(kind, covariance):
    model, x = small(kind, covariance)
    before, held = torch.get_rng_state(), bits(model)
    bound = model.bound(x)
    torch.manual_seed(7)
    assert torch.equal(model.bound(x), bound)
    torch.set_rng_state(before)
    objective = model.objective(x)
    for call in (model.posterior, model.reconstruct, model.transform, model.evidence):
        call(x)
    model.sample(3, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert bits(model) == held
    assert torch.equal(objective.detach(), bound)
    assert objective.requires_grad
    assert not bound.requires_grad
    assert bound.shape == (12,)
    assert bound.dtype == torch.float64
    # by hand, from the noise of each row
    with torch.no_grad():
        q = model.posterior(x)
        tril = q.scale_tril if covariance == "full" else torch.diag_embed(q.base_dist.scale)
        rows, latent = torch.as_tensor(x).to(tril), q.event_shape[0]
        noise = row_noise(rows, 16 * latent).reshape(len(x), 16, latent)
        z = [q.mean + torch.einsum("nij,nj->ni", tril, noise[:, s]) for s in range(16)]
        by_hand = torch.stack([model.decode(each).log_prob(rows) for each in z]).mean(0) - kl_to_prior(q).sum(-1)
    torch.testing.assert_close(bound, by_hand.double(), rtol=1e-5, atol=1e-5)


@kinds
def test_the_bound_of_a_row_is_its_own(kind):
    """Whatever rows it stands among: so that chunks add up, and a row of weight 2 is two rows."""
    model, x = small(kind, "diag")
    x = torch.as_tensor(x)
    bound = model.bound(x)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.bound(x[order]), bound[order], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.bound(x[3:5]), bound[3:5], rtol=1e-5, atol=1e-5)
    twice = model.bound(torch.cat([x, x]))
    torch.testing.assert_close(twice, torch.cat([bound, bound]), rtol=1e-5, atol=1e-5)


@kinds
@covariances
def test_the_gradient_of_the_objective_is_that_of_finite_differences(kind, covariance):
    """So that the draw is a function of the parameters of q, and the seed is the same on either side."""
    model, x = small(kind, covariance)
    parameters = list(model.parameters())
    gradient = torch.autograd.grad(model.objective(x).sum(), parameters)
    rng = np.random.default_rng(0)
    for parameter, slope in zip(parameters, gradient, strict=True):
        flat, at = parameter.data.view(-1), int(rng.integers(parameter.numel()))
        middle = flat[at].item()
        flat[at] = middle + 1e-5
        up = model.bound(x).sum().item()
        flat[at] = middle - 1e-5
        down = model.bound(x).sum().item()
        flat[at] = middle
        assert slope.flatten()[at].item() == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-6)


@kinds
@covariances
def test_what_a_vae_is(kind, covariance):
    model, x = small(kind, covariance)
    assert isinstance(model, LatentModel)
    assert not isinstance(model, SupportsEM)
    assert model.evidence(x) is None
    assert model.global_term().item() == 0
    posterior = model.posterior(x)
    assert posterior.batch_shape == (12,)
    assert posterior.event_shape == (2,)
    assert torch.equal(model.transform(x), posterior.mean)
    assert model.reconstruct(x).shape == (12, 6)
    sample = model.sample(5, seed=2)
    assert sample.shape == (5, 6)
    assert torch.equal(sample, model.sample(5, seed=2))
    assert torch.isfinite(model.bound(sample)).all()  # it can give what it gives


def test_the_reconstruction_of_categories_is_the_likeliest():
    model, x = small("categorical")
    logits = model.decode(model.posterior(x).mean).base_dist.logits.detach()
    np.testing.assert_array_equal(model.reconstruct(x), logits.argmax(-1))
    linear = random_linear(0)
    loc, loading, _ = decoder_of(linear)
    np.testing.assert_allclose(linear.reconstruct(X), loc + linear.transform(X).numpy() @ loading.T, rtol=1e-10)


def test_free_parameters_are_those_of_the_decoder():
    assert linear_vae(64, 10).free_parameters() == PPCA(64, 10).free_parameters() == 64 + 640 - 45 + 1
    assert small("bernoulli")[0].free_parameters() == (2 * 5 + 5) + (5 * 6 + 6)
    assert small("gaussian")[0].free_parameters() == (2 * 5 + 5) + (5 * 12 + 12)
    assert small("shared")[0].free_parameters() == (2 * 5 + 5) + (5 * 6 + 6) + 1


# the Pyro pair


@kinds
@covariances
def test_one_draw_of_pyros_elbo_is_one_draw_of_log_weights(kind, covariance):
    """The same seed, the same z: drawn by the guide, replayed in the model."""
    model, x = small(kind, covariance)
    weights = np.random.default_rng(0).integers(0, 4, len(x))
    for given_weights in (None, weights):
        kept = slice(None) if given_weights is None else weights > 0
        w = torch.ones(len(x)).double() if given_weights is None else torch.tensor(weights[kept]).double()
        torch.manual_seed(3)
        loss = Trace_ELBO().loss(model.model, model.guide, x, given_weights)
        torch.manual_seed(3)
        with torch.no_grad():
            by_hand = model.draws(x[kept]).log_weights()[0] @ w
        assert -loss == pytest.approx(by_hand.item(), rel=1e-10)


@kinds
def test_particles_in_parallel_have_the_same_mean(kind):
    """Vectorised particles add a dimension on the left. 4 standard errors, 5 kinds: 3e-4 of seeds."""
    model, x = small(kind)
    parallel = Trace_ELBO(num_particles=2000, vectorize_particles=True, max_plate_nesting=1)
    torch.manual_seed(0)
    value = -parallel.loss(model.model, model.guide, x)
    with torch.no_grad():
        own = model.draws(x, 2000).log_weights().sum(1)
    assert abs(value - own.mean()) < 4 * own.std() * (2 / 2000) ** 0.5


def test_rows_scale_a_minibatch():
    model, x = small()
    values = []
    for rows in (None, 120, 12, 30.0):
        torch.manual_seed(0)
        values.append(-Trace_ELBO().loss(model.model, model.guide, x, None, None, rows))
    assert values == pytest.approx([values[0], 10 * values[0], values[0], 2.5 * values[0]], rel=1e-12)


class Peaked(nn.Module):
    """An encoder that all but fixes z: 1e-12 wide around a linear function of x."""

    def __init__(self, features=6, latent=2):
        super().__init__()
        self.layer = nn.Linear(features, latent)

    def forward(self, x):
        return dist.Normal(self.layer(x), 1e-12).to_event(1)


@given(seeds)
def test_a_weight_is_so_many_repeated_rows(draw):
    """Under a q so narrow that every draw of a row is the same to 1e-12, the terms of the pair are so, too: all but
    log q(z | x), whose entropy is known: its mean is subtracted, and its noise is a chi square of 2 per row."""
    model = VAE(Peaked(), BernoulliDecoder(2, 6, (5,)), 2).double()
    weights = np.random.default_rng(draw).integers(0, 4, len(PIXELS))
    weights[0] = 1
    repeated = np.repeat(PIXELS, weights, axis=0)

    def model_terms(x, given_weights):
        guide = poutine.trace(model.guide).get_trace(x, given_weights)
        trace = poutine.trace(poutine.replay(model.model, guide)).get_trace(x, given_weights)
        return [trace.log_prob_sum(lambda name, site, wanted=name: name == wanted).item() for name in ("z", "x")]

    np.testing.assert_allclose(model_terms(PIXELS, weights), model_terms(repeated, None), rtol=1e-9)
    q = poutine.trace(model.guide).get_trace(PIXELS, weights)
    q.compute_log_prob()
    at = q.nodes["z"]["fn"].log_prob(q.nodes["z"]["value"])
    assert q.nodes["z"]["log_prob_sum"].item() == pytest.approx(
        (at @ torch.tensor(weights[weights > 0]).double()).item()
    )


def test_weights_are_repeated_rows_in_the_mean_over_draws():
    """4 standard errors: a false alarm in 6e-5 of seeds."""
    model, x = small("gaussian")
    weights = np.random.default_rng(0).integers(0, 4, len(x))
    loss = Trace_ELBO(num_particles=1, vectorize_particles=False)
    torch.manual_seed(0)
    weighted, repeated = (
        torch.tensor([loss.loss(model.model, model.guide, *args) for _ in range(300)])
        for args in ((x, weights), (np.repeat(x, weights, axis=0),))
    )
    error = (weighted.var() + repeated.var()).sqrt() / 300**0.5
    assert (weighted.mean() - repeated.mean()).abs() < 4 * error


def pyro_svi(model):
    return PyroSVI(model.model, model.guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())


def test_two_pyro_loops_interleaved_stay_apart():
    """Step by step in turn = each alone: same draws for each, so the same bits."""

    def trainer(kind):
        model, x = small(kind)
        svi = pyro_svi(model)

        def step(t):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(t)
                return svi.step(x)

        return model, step

    alone = []
    for kind in ("bernoulli", "gaussian"):
        model, step = trainer(kind)
        before = bits(model)
        alone.append(([step(t) for t in range(10)], bits(model)))
        assert bits(model) != before
    (a, step_a), (b, step_b) = trainer("bernoulli"), trainer("gaussian")
    losses = [(step_a(t), step_b(t)) for t in range(10)]
    assert alone == [([one for one, _ in losses], bits(a)), ([other for _, other in losses], bits(b))]
    assert list(pyro.get_param_store().keys()) == []


def test_a_deep_copy_is_a_model_of_its_own():
    model, x = small()
    twin = copy.deepcopy(model)
    held = bits(model)
    assert bits(twin) == held
    pyro_svi(twin).step(x)
    assert bits(model) == held
    assert bits(twin) != held
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in twin.parameters()}
