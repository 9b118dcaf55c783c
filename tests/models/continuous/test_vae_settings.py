"""What models and settings a continuous latent variable model cannot take gets one sentence."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from reference import bits
from test_vae_input import GOOD, MODELS, X, models
from torch import nn

from lowerbound.models import (
    PPCA,
    VAE,
    BernoulliDecoder,
    CategoricalDecoder,
    ConvEncoder,
    GaussianDecoder,
    MLPEncoder,
    linear_vae,
)

pytestmark = pytest.mark.usefixtures("as_users_run_it")

# models


@pytest.mark.parametrize("latent", [3, 4])
def test_ppca_needs_a_direction_for_the_noise(latent):
    with pytest.raises(ValueError, match=f"latent is {latent} for 3 features, expected at most 2: at least one"):
        PPCA(3, latent)
    with pytest.raises(ValueError, match=f"latent is {latent} for 3 features, expected at most 2"):
        PPCA.closed_form(X, latent)


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", True])
def test_sizes(size):
    for make in (
        lambda: PPCA(3, size),
        lambda: PPCA(size, 1),
        lambda: MLPEncoder(size, 2),
        lambda: MLPEncoder(3, size),
        lambda: MLPEncoder(3, 2, (4, size)),
        lambda: GaussianDecoder(size, 3),
        lambda: BernoulliDecoder(2, size),
        lambda: ConvEncoder((4, size), 2),
        lambda: VAE(MLPEncoder(3, 2), GaussianDecoder(2, 3), size),
        lambda: linear_vae(3, size),
    ):
        with pytest.raises(ValueError, match=f"is {size!r}, expected"):
            make()


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", True])
def test_sizes_of_levels(size):
    with pytest.raises(ValueError, match=rf"levels\[1\] is {size!r}, expected"):
        CategoricalDecoder(2, [2, size])


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", True])
def test_sizes_of_convolutions(size):
    with pytest.raises(ValueError, match=f"is {size!r}, expected"):
        ConvEncoder((4, 4), 2, (3, size))


def test_more_latent_dimensions_than_columns():
    with pytest.raises(ValueError, match="latent is 4 for 3 features, expected at most as many"):
        linear_vae(3, 4)
    VAE(MLPEncoder(3, 3), GaussianDecoder(3, 3), 3)


class Gives(nn.Module):
    """A module that gives whatever this makes of its layer."""

    def __init__(self, inputs, outputs, make):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)
        self.make = make

    def forward(self, given):
        return self.make(self.layer(given))


NOT_ENCODERS = {
    "a tensor": (lambda h: h, TypeError, "the encoder returns a torch.Tensor, expected a distribution of pyro.distrib"),
    "a pair": (lambda h: (h, h.exp()), TypeError, "the encoder returns a builtins.tuple, expected a distribution of"),
    "of torch": (
        lambda h: torch.distributions.Independent(torch.distributions.Normal(h, 1.0), 1),
        TypeError,
        r"the encoder returns a torch\.distributions.*Independent, expected a distribution of pyro\.distributions, "
        r"such as dist\.Normal\(loc, scale\)\.to_event\(1\)",
    ),
    "no events": (
        lambda h: dist.Normal(h, 1.0),
        ValueError,
        r"the encoder returns batch shape \(2, 2\) and event shape \(\) for an array of shape \(2, 3\), expected "
        r"\(2,\) and \(2,\): end it by \.to_event\(1\)",
    ),
    "one event for all": (lambda h: dist.Normal(h, 1.0).to_event(2), ValueError, r"batch shape \(\) and event shape"),
    "of another size": (
        lambda h: dist.Normal(h[:, :1], 1.0).to_event(1),
        ValueError,
        r"the encoder returns batch shape \(2,\) and event shape \(1,\) .* expected \(2,\) and \(2,\)",
    ),
    "None": (lambda h: None, TypeError, "the encoder returns a builtins.NoneType, expected a distribution"),
}


@pytest.mark.parametrize("name", NOT_ENCODERS)
def test_encoders_that_are_none(name):
    make, error, words = NOT_ENCODERS[name]
    with pytest.raises(error, match=words):
        VAE(Gives(3, 2, make), GaussianDecoder(2, 3), 2)


def test_decoders_that_are_none():
    encoder = MLPEncoder(3, 2)
    with pytest.raises(TypeError, match=r"the decoder returns a torch\.Tensor, expected a distribution of pyro"):
        VAE(encoder, nn.Linear(2, 3), 2)
    with pytest.raises(TypeError, match=r"the decoder returns a torch\.distributions\..*Independent, expected a dis"):
        VAE(encoder, Gives(2, 3, lambda h: torch.distributions.Independent(torch.distributions.Normal(h, 1.0), 1)), 2)
    words = r"the decoder returns batch shape \(2, 3\) and event shape \(\) .*expected \(2,\) and \(columns,\)"
    with pytest.raises(ValueError, match=words):
        VAE(encoder, Gives(2, 3, lambda h: dist.Normal(h, 1.0)), 2)
    with pytest.raises(ValueError, match=r"the decoder returns batch shape \(\) and event shape \(2, 3\)"):
        VAE(encoder, Gives(2, 3, lambda h: dist.Normal(h, 1.0).to_event(2)), 2)


def test_parts_that_do_not_fit_each_other():
    with pytest.raises(ValueError, match=r"the decoder does not take an array of shape \(2, 2\), expected it to take"):
        VAE(MLPEncoder(3, 2), GaussianDecoder(1, 3), 2)
    with pytest.raises(
        ValueError, match=r"the encoder does not take an array of shape \(2, 3\), .*the 3 columns of the decoder"
    ):
        VAE(MLPEncoder(4, 2), GaussianDecoder(2, 3), 2)
    with pytest.raises(ValueError, match=r"the encoder returns .* event shape \(1,\) .*expected \(2,\) and \(2,\)"):
        VAE(MLPEncoder(3, 1), GaussianDecoder(2, 3), 2)
    for encoder, decoder, name in ((len, GaussianDecoder(2, 3), "encoder"), (MLPEncoder(3, 2), len, "decoder")):
        with pytest.raises(TypeError, match=rf"the {name} is a builtin_function_or_method, expected a torch\.nn"):
            VAE(encoder, decoder, 2)


class Still(nn.Module):
    """Without anything to learn."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, given):
        return self.make(given)


def test_parts_without_parameters_can_be_evaluated():
    """z is x's first two columns, x is z and their sum: there is nothing to fit, but a bound and rows to draw."""
    model = VAE(
        Still(lambda x: dist.Normal(x[:, :2], 0.5).to_event(1)),
        Still(lambda z: dist.Normal(torch.cat([z, z.sum(-1, keepdim=True)], -1), 1.0).to_event(1)),
        2,
    )
    assert torch.isfinite(model.bound(X)).all()
    assert model.sample(4, seed=0).shape == (4, 3)
    assert model.free_parameters() == 0


# settings


@pytest.mark.parametrize("floor", [-0.1, float("inf"), float("nan")])
def test_a_floor_that_is_no_variance(floor):
    with pytest.raises(ValueError, match=f"variance_floor is {floor!r}, expected a variance of at least 0, in squared"):
        GaussianDecoder(2, 3, variance_floor=floor)


def test_words_that_are_none_of_the_choices():
    words = "activation is 'sigmoid', expected one of 'tanh', 'relu', 'silu', 'gelu'"
    for make in (
        lambda: MLPEncoder(3, 2, activation="sigmoid"),
        lambda: ConvEncoder((4, 4), 2, activation="sigmoid"),
        lambda: GaussianDecoder(2, 3, activation="sigmoid"),
        lambda: BernoulliDecoder(2, 3, activation="sigmoid"),
        lambda: CategoricalDecoder(2, [2], activation="sigmoid"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(ValueError, match="covariance is 'tied', expected 'diag' or 'full'"):
        linear_vae(3, 2, covariance="tied")
    with pytest.raises(ValueError, match="covariance is 'tied', expected 'diag' or 'full'"):
        ConvEncoder((4, 4), 2, covariance="tied")
    with pytest.raises(ValueError, match="variance is 'diag', expected 'learned' or 'shared'"):
        GaussianDecoder(2, 3, variance="diag")


def test_pictures_that_are_none():
    for shape in ((4,), (1, 2, 3, 4)):
        with pytest.raises(
            ValueError, match=r"shape is \(.*\), expected \(height, width\) or \(channels, height, width\)"
        ):
            ConvEncoder(shape, 2)
    with pytest.raises(ValueError, match="channels is empty, expected at least one convolution; without any, take MLP"):
        ConvEncoder((4, 4), 2, ())


@models
def test_a_number_of_draws_that_is_none(kind):
    model = MODELS[kind]()
    held = bits(model)
    for samples in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"samples is {samples!r}, expected"):
            model.draws(GOOD[kind], samples=samples)
    assert bits(model) == held


def test_parameters_of_the_wrong_kind():
    model = PPCA(3, 1)
    with pytest.raises(ValueError, match=r"loading got shape \(3, 2\), expected \(3, 1\)"):
        model.loading = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"scale got -1\.0, expected"):
        model.scale = -1.0
    with pytest.raises(ValueError, match=r"loc got \[.*nan.*\], expected finite numbers"):
        model.loc = [0.0, np.nan, 0.0]
    assert not model.names_set
