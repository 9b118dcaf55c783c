"""The variational autoencoder: its modes and modules, where it starts, and where fits end."""

import copy
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from reference import bits
from test_vae import covariances, kinds
from test_vae_pair import pyro_svi
from torch import nn
from torch.distributions import MultivariateNormal
from vae_oracles import (
    PIXELS,
    D,
    Heavy,
    N,
    Noisy,
    Q,
    X,
    small,
)

from lowerbound.inference import SVI, fit, load
from lowerbound.models import (
    PPCA,
    VAE,
    BernoulliDecoder,
    ConvEncoder,
    GaussianDecoder,
    MLPEncoder,
    linear_vae,
    seed,
)

# modes and modules


class Mine(nn.Module):
    """A decoder of the user's own: counts."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 6)

    def forward(self, z):
        return dist.Poisson(self.layer(z).exp()).to_event(1)


def test_evaluation_moves_nothing_and_training_does():
    model = VAE(Noisy(), BernoulliDecoder(2, 6, (5,)), 2).double()
    assert model.training
    held = bits(model)
    bound = model.bound(PIXELS)
    for call in (model.objective, model.posterior, model.transform, model.reconstruct, model.evidence):
        call(PIXELS)
    model.sample(3, seed=0)
    assert bits(model) == held
    assert torch.equal(model.bound(PIXELS), bound)
    assert all(part.training for part in model.modules())
    alone, beside = model.posterior(PIXELS[:1]), model.posterior(PIXELS)  # no statistics of the batch
    torch.testing.assert_close(alone.mean, beside.mean[:1], rtol=1e-12, atol=1e-14)

    first, second = (model.draws(PIXELS).q.mean for _ in range(2))
    assert not torch.equal(first, second)  # dropout
    assert bits(model) != held  # running statistics
    counts = model.encoder.network[1].num_batches_tracked.item()
    torch.manual_seed(0)
    model.guide(PIXELS)
    assert model.encoder.network[1].num_batches_tracked.item() == counts + 1

    model.eval()  # what a user says is kept, too
    held = bits(model)
    assert torch.equal(model.draws(PIXELS).q.mean, model.posterior(PIXELS).mean)
    assert bits(model) == held
    assert not any(part.training for part in model.modules())
    model.decoder.train()
    model.bound(PIXELS)
    assert model.decoder.training
    assert not model.encoder.training


def test_modes_come_back_even_after_an_error():
    model, _ = small()
    with pytest.raises(ValueError, match="got 1 column, expected 6"):
        model.bound(PIXELS[:, :1])
    model.encoder.forward = None
    with pytest.raises(TypeError):
        model.bound(PIXELS)
    assert all(part.training for part in model.modules())


def test_modules_of_the_users_own():
    model = VAE(Noisy(), Mine(), 2).double()
    counts = np.random.default_rng(0).poisson(2.0, (20, 6))
    assert model.features == 6
    assert torch.isfinite(model.bound(counts)).all()
    before = [p.detach().clone() for p in model.parameters()]
    svi = pyro_svi(seed(model, counts))
    losses = [svi.step(counts) for _ in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert all(not torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert model.sample(4, seed=0).shape == (4, 6)
    assert list(pyro.get_param_store().keys()) == []


def test_a_guide_without_a_closed_form_of_the_divergence():
    model = VAE(Heavy(), BernoulliDecoder(2, 6, (5,)), 2).double()
    draws = model.draws(PIXELS, 3)
    assert draws.divergence() is None
    torch.testing.assert_close(draws.elbo(), draws.log_weights().mean(0))
    assert torch.isfinite(model.bound(PIXELS)).all()


def test_a_full_covariance_is_the_factor_of_the_numbers():
    encoder = MLPEncoder(D, 3, (), "full").double()
    numbers = encoder.body(torch.tensor(X)).detach()
    q = encoder(torch.tensor(X))
    assert isinstance(q, MultivariateNormal)
    factor = np.zeros((N, 3, 3))
    soft = torch.nn.functional.softplus(numbers + math.log(math.e - 1))
    for place, (i, j) in enumerate([(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]):
        factor[:, i, j] = (soft if i == j else numbers)[:, 3 + place]
    np.testing.assert_allclose(q.scale_tril.detach(), factor, rtol=1e-12)
    np.testing.assert_allclose(q.covariance_matrix.detach(), factor @ factor.transpose(0, 2, 1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "channels"), [((5, 7), (2, 3)), ((1, 9), (2,)), ((3, 4, 5), (4, 4, 4)), ((2, 1, 1), (3,))]
)
@covariances
def test_convolutions_take_pictures_of_any_size(shape, channels, covariance):
    d = math.prod(shape)
    model = VAE(ConvEncoder(shape, 2, channels, 6, covariance), GaussianDecoder(2, d, (4,)), 2)
    x = torch.rand(3, d, generator=torch.Generator().manual_seed(0))
    q = model.posterior(x)
    assert q.batch_shape == (3,)
    assert q.event_shape == (2,)
    assert torch.isfinite(model.bound(x)).all()
    # a row on its own is the same picture: rows are not mixed up
    torch.testing.assert_close(model.posterior(x[1:2]).mean, q.mean[1:2], rtol=1e-5, atol=1e-6)


def test_convolutions_see_rows_as_channels_of_lines():
    """One convolution by hand with scipy: out[c, i, j] = sum_k in[k] * kernel[c, k], at every second place."""
    from scipy.signal import correlate2d

    encoder = ConvEncoder((2, 5, 4), 2, (3,), 6).double()
    x = np.random.default_rng(0).standard_normal((1, 40))
    layer = encoder.network[0]
    picture, kernel = x.reshape(2, 5, 4), layer.weight.detach().numpy()
    for c in range(3):
        full = sum(correlate2d(np.pad(picture[k], 1), kernel[c, k], mode="valid") for k in range(2))
        expected = full[::2, ::2] + layer.bias[c].item()
        np.testing.assert_allclose(layer(torch.tensor(picture)[None])[0, c].detach(), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        encoder.body(torch.tensor(x)).detach(), encoder.network(torch.tensor(picture)[None]).detach()
    )


@kinds
def test_double_precision(kind):
    """float32 unless asked: the two agree to float32's seven digits, and rows may come in either."""
    model, x = small(kind)
    narrow = copy.deepcopy(model).float()
    assert all(p.dtype == torch.float32 for p in narrow.parameters())
    q, p = narrow.posterior(x), model.posterior(x)
    assert (q.mean.dtype, p.mean.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(q.mean.double(), p.mean, rtol=1e-4, atol=1e-5)
    z = torch.zeros(12, 2)
    with torch.no_grad():
        single = narrow.decode(z).log_prob(torch.tensor(x).float())
        torch.testing.assert_close(
            single.double(), model.decode(z.double()).log_prob(torch.tensor(x)), rtol=1e-4, atol=1e-4
        )
    assert narrow.bound(x).dtype == model.bound(x.astype(np.float32)).dtype == torch.float64
    assert model.sample(3, seed=0).dtype == torch.float64
    assert narrow.sample(3, seed=0).dtype == torch.float32


# starting


def test_a_new_network_is_the_same_each_time_and_leaves_the_random_state():
    state = torch.get_rng_state()
    a, b = (bits(VAE(ConvEncoder((3, 4), 2, (2,), 5), GaussianDecoder(2, 12, (5,)), 2)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert a == b


def test_a_start_is_drawn_from_its_generator_or_kept():
    model = linear_vae(D, Q)
    state = torch.get_rng_state()
    first, second, again = (bits(seed(model, X, s)) for s in (0, 1, 0))
    assert torch.equal(torch.get_rng_state(), state)
    assert first == again
    assert first != second
    np.testing.assert_allclose(model.decoder.loc, X.mean(0), rtol=1e-6)
    np.testing.assert_allclose(model.encoder.unit, X.std(0), rtol=1e-6)
    np.testing.assert_allclose(model.decoder.unit, np.sqrt(X.var(0).mean()), rtol=1e-6)
    held = bits(model)
    model.initialize(X * 3, None, torch.Generator().manual_seed(0), redraw=False)
    assert bits(model) == held  # anchored already
    fresh = linear_vae(D, Q)
    parameters = [p.detach().clone() for p in fresh.parameters()]
    fresh.initialize(X, None, torch.Generator().manual_seed(0), redraw=False)
    assert all(torch.equal(p, q) for p, q in zip(fresh.parameters(), parameters, strict=True))
    np.testing.assert_allclose(fresh.decoder.loc, X.mean(0), rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_the_start_does_not_depend_on_units(unit):
    """Up to float32's rounding of the anchors: q(z | x) is the same, and log p(x | z) off by the log of the unit."""
    a, b = seed(linear_vae(D, Q), X), seed(linear_vae(D, Q), X * unit)
    torch.testing.assert_close(b.posterior(X * unit).mean, a.posterior(X).mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(b.evidence(X * unit) + D * math.log(unit), a.evidence(X), rtol=1e-4, atol=1e-4)
    drawn = []
    for model, scale in ((a, 1.0), (b, unit)):
        torch.manual_seed(0)
        drawn.append(model.draws(X * scale, 5).elbo().detach() + D * math.log(scale))
    torch.testing.assert_close(drawn[1], drawn[0], rtol=1e-4, atol=1e-4)


# fits


SETTINGS = {
    "sampled": {},
    "analytic": {"elbo": "analytic"},
    "importance": {"elbo": "importance", "particles": 3},
    "minibatch": {"elbo": "analytic", "batch_size": 10},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_a_fit_climbs_and_touches_nothing_else(settings):
    model, engine = linear_vae(D, Q), SVI(**settings)
    held, state = bits(model), torch.get_rng_state()
    result = fit(model, X, engine, max_passes=60)
    assert bits(model) == held
    assert torch.equal(torch.get_rng_state(), state)
    assert result.bounds[-1] > result.bounds[0]
    assert result.bounds[-1].item() == pytest.approx(result.model.bound(X).mean().item(), abs=1e-9)
    assert all(p.grad is None for p in result.model.parameters())
    again = fit(model, X, engine, max_passes=60)
    assert torch.equal(again.bounds, result.bounds)
    assert bits(again.model) == bits(result.model)
    assert bits(fit(model, X, engine, max_passes=60, seed=1).model) != bits(result.model)


def test_a_fit_comes_close_to_probabilistic_pca():
    """In the evidence, which has a closed form, to .05 nats per row; never above it but by float32's rounding."""
    top = PPCA.closed_form(X, Q).bound(X).mean().item()
    result = fit(linear_vae(D, Q), X, SVI("analytic", learning_rate=0.03, particles=4), max_passes=600)
    assert top - 0.05 < result.model.evidence(X).mean() < top + 1e-5


@kinds
def test_what_was_saved_comes_back_to_the_same_bits(kind, tmp_path):
    model, x = small(kind)
    saved = fit(model, x, SVI("analytic"), max_passes=3)
    saved.save(tmp_path / "a")
    for back in (load(tmp_path / "a", into=model), load(tmp_path / "a")):
        assert bits(back.model) == bits(saved.model)
        assert torch.equal(back.model.bound(x), saved.model.bound(x))
        assert back.model.posterior(x).mean.dtype == torch.float64
