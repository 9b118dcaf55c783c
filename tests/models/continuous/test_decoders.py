"""Decoders against scipy, sums and integrals; grey pixels drawn anew; and all of them by the sum over columns."""

import itertools
import math

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch.utils.data import DataLoader

from lowerbound.inference import SVI, fit
from lowerbound.models import (
    VAE,
    BernoulliDecoder,
    Binarized,
    CategoricalDecoder,
    ContinuousBernoulliDecoder,
    GaussianDecoder,
    MLPEncoder,
    Rows,
    linear_vae,
    seed,
)

RNG = np.random.default_rng(0)
Z = torch.tensor(RNG.standard_normal((7, 2)))
TABLE = RNG.standard_normal((50, 3)) * [1, 10, 0.1] + [0, 100, -3]
GREY = np.random.default_rng(1).random((40, 5))
GREY[:, 0], GREY[:, 1] = 0, 1
seeds = st.integers(0, 10**6)


def shaken(decoder, draw=0):
    """In float64, with weights large enough that every column depends on z."""
    decoder = decoder.double()
    generator = torch.Generator().manual_seed(draw)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter += 0.7 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return decoder


def saying(decoder, numbers):
    """A decoder whose network says these numbers whatever z."""
    with torch.no_grad():
        layer = decoder.network[-1]
        layer.weight.zero_()
        layer.bias.copy_(torch.as_tensor(numbers))
    return decoder


def softplus_of_one(x):
    return np.log1p((np.e - 1) * np.exp(x))


# Gaussian


@given(seeds, st.sampled_from(["learned", "shared"]), st.sampled_from([0.0, 0.3]), st.booleans())
def test_gaussian_is_that_of_scipy(draw, variance, floor, anchored):
    decoder = GaussianDecoder(2, 3, (4,), variance, floor)
    if anchored:
        decoder.set_units(Rows(TABLE).spread)
    decoder = shaken(decoder, draw)
    x = TABLE[:7]
    numbers = decoder.network(Z).detach().numpy()
    loc, unit = decoder.loc.numpy(), decoder.unit.numpy()
    if variance == "learned":
        scale = np.sqrt((unit * softplus_of_one(numbers[:, 3:])) ** 2 + floor)
    else:
        scale = np.sqrt((unit[0] * softplus_of_one(decoder.raw_scale.item())) ** 2 + floor)
        assert decoder.scale.item() == pytest.approx(scale, rel=1e-12)
    expected = stats.norm(loc + unit * numbers[:, :3], scale).logpdf(x).sum(1)
    made = decoder(Z)
    assert (made.batch_shape, made.event_shape) == ((7,), (3,))
    np.testing.assert_allclose(made.log_prob(torch.tensor(x)).detach(), expected, rtol=1e-10)


@pytest.mark.parametrize("variance", ["learned", "shared"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_variance_falls_below_the_floor(variance, dtype):
    decoder = GaussianDecoder(2, 3, (), variance, 0.04).to(dtype)
    saying(decoder, [0.0] * 3 + [-200.0] * 3 if variance == "learned" else [0.0] * 3)
    if variance == "shared":
        decoder.raw_scale.data.fill_(-200)
    z = 1e6 * torch.randn(100, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)
    scale = decoder(z).base_dist.scale
    torch.testing.assert_close(scale, torch.full_like(scale, 0.2), rtol=1e-6, atol=0)
    loss = -decoder(z[:3] / 1e6).log_prob(torch.ones(3, 3, dtype=dtype)).sum()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, list(decoder.parameters())))


def test_the_best_shared_scale_is_the_error_of_the_reconstructions():
    """The slope of the log likelihood in it is 0 there (Rybkin et al. 2021), and nowhere else nearby."""
    decoder = shaken(GaussianDecoder(2, 3, (4,), "shared"))
    x = torch.tensor(TABLE[:7])
    error = (x - decoder(Z).mean).square().mean().sqrt().item()

    def slope(scale):
        decoder.raw_scale.data.fill_(math.log(math.expm1(scale)) - math.log(math.e - 1))
        assert decoder.scale.item() == pytest.approx(scale, rel=1e-9)
        return torch.autograd.grad(decoder(Z).log_prob(x).sum(), decoder.raw_scale)[0].item()

    assert abs(slope(error)) < 1e-7 * abs(slope(1.1 * error))
    assert slope(0.9 * error) > 0 > slope(1.1 * error)


def test_a_linear_decoder_says_so():
    linear = shaken(GaussianDecoder(2, 3, (), "shared")).linear()
    assert linear is not None
    assert linear.loc.dtype == torch.float64
    assert GaussianDecoder(2, 3, (), "learned").linear() is None
    assert GaussianDecoder(2, 3, (4,), "shared").linear() is None


@pytest.mark.parametrize("variance", ["learned", "shared"])
def test_an_anchor_moves_the_density_with_the_data(variance):
    """The first reconstructions lie within two deviations of the mean, whatever the units."""
    decoder = GaussianDecoder(2, 3, (4,), variance)
    decoder.set_units(Rows(TABLE).spread)
    made = decoder(Z.float()).base_dist
    deviation = TABLE.std(0) if variance == "learned" else np.sqrt(TABLE.var(0).mean())
    assert (np.abs(made.loc.detach().numpy() - TABLE.mean(0)) < 2 * deviation).all()
    assert (np.abs(np.log(made.scale.detach().numpy() / deviation)) < 1).all()


# Bernoulli


@given(seeds)
def test_bernoulli_is_that_of_scipy(draw):
    decoder = shaken(BernoulliDecoder(2, 4, (5,)), draw)
    decoder.offset += 0.5
    x = np.random.default_rng(draw).integers(0, 2, (7, 4))
    logits = (decoder.network(Z) + 0.5).detach().numpy()
    expected = stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(x).sum(1)
    np.testing.assert_allclose(decoder(Z).log_prob(torch.tensor(x).double()).detach(), expected, rtol=1e-9)
    every_row = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).double()
    total = decoder(Z[:1]).log_prob(every_row).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-12)


def test_bernoulli_starts_at_the_shares_of_ones():
    x = (GREY > 0.5).astype(float)
    decoder = BernoulliDecoder(2, 5, (3,))
    decoder.set_units(Rows(x).spread)
    probs = torch.sigmoid(saying(decoder, [0.0] * 5)(torch.zeros(1, 2)).base_dist.logits)[0]
    np.testing.assert_allclose(probs.detach(), np.clip(x.mean(0), 1e-3, 1 - 1e-3), rtol=1e-4)


# continuous Bernoulli

# 0 and close to it, where p is 1/2 and the constant is a limit; further out for float64
LOGITS = [0.0, 1e-12, -1e-6, 1e-3, -3.9e-3, 4.1e-3, 0.1, -1.0, 3.0, -8.0, 14.0]


@pytest.mark.parametrize("logit", [*LOGITS, 30.0, -30.0])
def test_continuous_bernoulli_is_a_density(logit):
    """C(p) p^x (1 - p)^(1 - x) with C(p) = 2 artanh(1 - 2 p) / (1 - 2 p), which is logit / tanh(logit / 2)."""
    decoder = saying(ContinuousBernoulliDecoder(1, 1, ()).double(), [logit])
    z = torch.zeros(1, 1).double()

    def density(x):
        return decoder(z).log_prob(torch.tensor([[x]]).double()).exp().item()

    whole, _ = integrate.quad(density, 0, 1, epsabs=1e-12)
    assert whole == pytest.approx(1, abs=1e-4 if logit == 30 else 1e-7)  # torch takes 1 - p where p is all but 1
    constant = 2.0 if logit == 0 else logit / math.tanh(logit / 2)
    p = 1 / (1 + math.exp(-logit))
    for x in (0.0, 0.25, 0.5, 1.0):
        # 1 - p as its own logistic: at p near 1 the difference would lose its digits
        log_density = math.log(constant) + x * math.log(p) - (1 - x) * math.log1p(math.exp(logit))
        assert math.log(density(x)) == pytest.approx(log_density, rel=1e-6, abs=1e-4 if logit == 30 else 1e-7)
    mean, _ = integrate.quad(lambda x: x * density(x), 0, 1, epsabs=1e-12)
    assert decoder(z).mean.item() == pytest.approx(mean, abs=1e-4 if logit == 30 else 1e-6)


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_in_float32(logit):
    decoder = saying(ContinuousBernoulliDecoder(1, 1, ()), [logit])
    x = torch.linspace(0, 1, 4001).unsqueeze(1)
    density = decoder(torch.zeros(1, 1)).log_prob(x).double().exp()
    assert integrate.simpson(density.detach(), x=x[:, 0].double()) == pytest.approx(1, abs=2e-3)


@given(seeds)
def test_grey_pixels_add_up_over_columns(draw):
    decoder = shaken(ContinuousBernoulliDecoder(2, 4, (5,)), draw)
    x = np.random.default_rng(draw).random((7, 4))
    logits = decoder.network(Z).detach().numpy()
    expected = (np.log(logits / np.tanh(logits / 2)) + x * logits - np.logaddexp(0, logits)).sum(1)
    np.testing.assert_allclose(decoder(Z).log_prob(torch.tensor(x)).detach(), expected, rtol=1e-6, atol=1e-6)


# categories


@given(seeds)
def test_categories_of_unequal_levels_add_up_to_1(draw):
    levels = [2, 4, 1, 3]
    decoder = shaken(CategoricalDecoder(2, levels, (5,)), draw)
    every_row = np.array(list(itertools.product(*map(range, levels))))
    made = decoder(Z[:1])
    log_prob = made.log_prob(torch.tensor(every_row).double()).detach().numpy()
    assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-12)
    numbers = decoder.network(Z[:1]).detach().numpy()[0].reshape(4, 4)
    chances = [np.exp(n[:k]) / np.exp(n[:k]).sum() for n, k in zip(numbers, levels, strict=True)]
    by_hand = [sum(np.log(p[code]) for p, code in zip(chances, row, strict=True)) for row in every_row]
    np.testing.assert_allclose(log_prob, by_hand, rtol=1e-9, atol=1e-12)


def test_categories_beyond_a_level_are_neither_drawn_nor_in_the_way_of_gradients():
    decoder = shaken(CategoricalDecoder(2, [2, 5], (4,)))
    drawn = decoder(Z).sample((500,))
    assert drawn[..., 0].max() == 1
    assert drawn[..., 1].max() == 4
    loss = -decoder(Z).log_prob(torch.ones(7, 2).double()).sum()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, list(decoder.parameters())))
    outside = decoder.outside(torch.tensor([[0.0, 0], [1, 4], [2, 4], [1, 5]]))
    assert outside.tolist() == [[False, False], [False, False], [True, False], [False, True]]


# all of them


DECODERS = {
    "gaussian": GaussianDecoder(2, 3, (4,)),
    "shared": GaussianDecoder(2, 3, (4,), "shared"),
    "bernoulli": BernoulliDecoder(2, 3, (4,)),
    "grey": ContinuousBernoulliDecoder(2, 3, (4,)),
    "categorical": CategoricalDecoder(2, [2, 3, 4], (4,)),
}


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS.keys())
def test_a_likelihood_is_a_sum_over_columns_of_whatever_batch(decoder):
    decoder = shaken(decoder)
    x = torch.tensor(np.random.default_rng(0).integers(0, 2, (7, 3))).double()
    z = torch.stack([Z, -Z, 2 * Z])
    made = decoder(z)
    assert (made.batch_shape, made.event_shape) == ((3, 7), (3,))
    whole = made.log_prob(x)
    torch.testing.assert_close(whole, made.base_dist.log_prob(x).sum(-1), rtol=1e-12, atol=1e-12)
    one_by_one = torch.stack([decoder(z[:, j]).log_prob(x[j]) for j in range(7)], 1)
    torch.testing.assert_close(whole, one_by_one, rtol=1e-10, atol=1e-12)
    assert repr(decoder).startswith(f"{type(decoder).__name__}(2, ")


@pytest.mark.parametrize("activation", ["tanh", "relu", "silu", "gelu"])
def test_activations(activation):
    """By hand, layer after layer."""
    functions = {
        "tanh": np.tanh,
        "relu": lambda a: np.maximum(a, 0),
        "silu": lambda a: a / (1 + np.exp(-a)),
        "gelu": lambda a: a * stats.norm.cdf(a),
    }
    decoder = shaken(BernoulliDecoder(2, 3, (4, 5), activation))
    layers = [m for m in decoder.network if isinstance(m, torch.nn.Linear)]
    h = Z.numpy()
    for layer in layers[:-1]:
        h = functions[activation](h @ layer.weight.detach().numpy().T + layer.bias.detach().numpy())
    expected = h @ layers[-1].weight.detach().numpy().T + layers[-1].bias.detach().numpy()
    np.testing.assert_allclose(decoder.network(Z).detach(), expected, rtol=1e-9, atol=1e-12)


# binarized pixels


def test_the_mean_of_many_readings_is_the_grey():
    """5 standard errors on 200 cells: a false alarm in 1e-4 of seeds, and the seed is fixed."""
    pixels = Binarized(GREY)
    torch.manual_seed(0)
    readings = torch.stack([pixels[:] for _ in range(2000)]).double()
    assert set(readings.unique().tolist()) == {0.0, 1.0}
    error = np.sqrt(GREY * (1 - GREY) / 2000)
    assert (np.abs(readings.mean(0).numpy() - GREY) <= 5 * error + 1e-7).all()
    assert (readings[:, :, 0] == 0).all()  # black stays black
    assert (readings[:, :, 1] == 1).all()
    # cells and readings are drawn apart from one another
    assert (readings[0] != readings[1]).any()
    left, right = readings[:, 0, 3] - GREY[0, 3], readings[:, 1, 3] - GREY[1, 3]
    assert abs((left * right).mean()) < 5 * (left.std() * right.std()) / 2000**0.5


@pytest.mark.parametrize("make", [np.asarray, torch.tensor, pd.DataFrame, np.float32, lambda x: x.tolist()])
def test_pixels_come_from_tables_of_every_kind(make):
    torch.manual_seed(3)
    expected = Binarized(torch.tensor(GREY))[:]
    torch.manual_seed(3)
    pixels = Binarized(make(GREY))
    assert len(pixels) == 40
    assert torch.equal(pixels[:], expected)
    assert pixels[3].shape == (5,)
    assert pixels[[1, 2]].shape == (2, 5)
    assert torch.stack(list(pixels.__getitems__([5, 1, 1]))).shape == (3, 5)


class Counted(Binarized):
    """Which remembers how often it was asked for rows."""

    asked = 0

    def __getitem__(self, index):
        self.asked += 1
        return super().__getitem__(index)

    __getitems__ = __getitem__


def test_rows_reads_whole_batches():
    pixels = Counted(GREY)
    rows = Rows(pixels)
    assert rows.features == 5
    pixels.asked = 0
    chunks = list(rows.chunks(16))
    assert pixels.asked == 3
    assert [len(c.x) for c in chunks] == [16, 16, 8]
    assert all(c.x.dtype == torch.float64 for c in chunks)
    batches = list(rows.batches(10, torch.Generator().manual_seed(0)))
    assert pixels.asked == 7
    # in batches, too, each row has its own chances
    assert all((b.x[:, 0] == 0).all() and (b.x[:, 1] == 1).all() for b in batches)
    again = torch.cat([c.x for c in rows.chunks(16)])
    assert not torch.equal(again, torch.cat([c.x for c in chunks]))


def test_a_loader_takes_them():
    loader = DataLoader(Binarized(GREY), batch_size=7)
    assert torch.cat(list(loader)).shape == (40, 5)
    assert [len(c.x) for c in Rows(loader).chunks()] == [7] * 5 + [5]


def test_rows_of_a_batch_belong_to_their_own_grey():
    """Grey that is 0 or 1 tells rows apart."""
    grey = np.eye(12)
    rows = Rows(Binarized(grey))
    assert torch.equal(torch.cat([c.x for c in rows.chunks(5)]), torch.eye(12).double())
    drawn = torch.cat([b.x for b in rows.batches(5, torch.Generator().manual_seed(1))])
    assert torch.equal(drawn.argmax(1).sort().values, torch.arange(12))


def test_a_fit_of_one_seed_sees_the_same_draws():
    model = VAE(MLPEncoder(5, 2, (4,)), BernoulliDecoder(2, 5, (4,)), 2)
    state = torch.get_rng_state()
    a, b, c = (fit(model, Binarized(GREY), SVI(batch_size=20), max_passes=4, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a.bounds, b.bounds)
    assert not torch.equal(a.bounds, c.bounds)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-0.1, 1), (0, 1.5)])
def test_what_is_no_chance_is_refused(low, high):
    with pytest.raises(ValueError, match=f"got pixels from {low:g} to {high:g}, expected shares from 0 to 1: divide"):
        Binarized([[low, high]])


def test_more_pixels_that_are_none():
    with pytest.raises(ValueError, match="row 0, column 1 holds NaN"):
        Binarized([[0.5, float("nan")]])
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(rows, columns\)"):
        Binarized([0.5, 0.5, 1])


def test_a_linear_decoder_by_pyro_is_the_one_of_torch():
    """What is handed to a Pyro program is of Pyro's own distributions."""
    model = seed(linear_vae(3, 2), TABLE)
    for made in (model.encoder(torch.zeros(2, 3)), model.decoder(torch.zeros(2, 2))):
        assert isinstance(made, dist.torch_distribution.TorchDistributionMixin)


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_the_shared_scale_is_as_it_was_set(floor):
    """Also through the anchoring of a fit, which measures it in another unit, and where it is held."""
    x = np.random.default_rng(0).standard_normal((50, 3)) * 7
    vae = VAE(MLPEncoder(3, 1, (4,)), GaussianDecoder(1, 3, (4,), "shared", floor), 1)
    vae.decoder.scale = 2.5
    assert float(vae.decoder.scale.detach()) == pytest.approx(2.5, rel=1e-6)
    vae.decoder.raw_scale.requires_grad_(False)
    fitted = fit(vae, x, SVI("analytic"), max_passes=5, restarts=2).model
    assert float(fitted.decoder.scale) == pytest.approx(2.5, rel=1e-6)
    for bad in (floor**0.5 / 2, [1.0, 2.0], float("nan")):
        with pytest.raises(ValueError, match="expected one number with a square above the variance_floor"):
            vae.decoder.scale = bad
    with pytest.raises(ValueError, match="this one has 'learned'"):
        GaussianDecoder(1, 3).scale = 1.0
