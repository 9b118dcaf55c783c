"""Modules of a user's own: layers for pictures, batch normalization, supports of all kinds, names that we use, too."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from lowerbound.inference import SVI, compare, evidence, fit, gap_report
from lowerbound.models import VAE, BernoulliDecoder, Binarized, GaussianDecoder, MLPEncoder, Network, Rows, linear_vae

X = np.random.default_rng(0).standard_normal((24, 16))


class Pictures(nn.Module):
    """A decoder as torch users write it: z to channels, a transposed convolution, flattened at the end."""

    def __init__(self, batch_norm=False):
        super().__init__()
        self.linear = nn.Linear(2, 4 * 2 * 2)  # a name that a decoder of ours answers to
        self.check = nn.BatchNorm2d(4) if batch_norm else nn.Identity()
        self.up = nn.ConvTranspose2d(4, 1, 2, stride=2)

    def forward(self, z):
        pictures = self.up(self.check(torch.tanh(self.linear(z)).view(-1, 4, 2, 2)))
        return dist.Normal(pictures.flatten(1), 1.0).to_event(1)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_decoder_that_flattens_what_it_gets_gives_each_row_its_own(batch_norm):
    model = VAE(MLPEncoder(16, 2, (8,)), Pictures(batch_norm), 2)
    draws = model.eval().draws(X, 5)
    x = torch.tensor(X, dtype=torch.float32)
    for s in range(5):
        torch.testing.assert_close(draws.log_likelihood[s], model.decoder(draws.z[s]).log_prob(x))
    one_by_one = torch.cat([model.bound(X[i : i + 1]) for i in range(len(X))])
    torch.testing.assert_close(model.bound(X), one_by_one, rtol=1e-5, atol=1e-4)
    for engine in (SVI(), SVI(particles=3), SVI("analytic", particles=3), SVI("importance", particles=3)):
        result = fit(model, X, engine, max_passes=3)
        assert torch.isfinite(result.bounds).all()
        assert torch.isfinite(evidence(result.model, X, 20).log_evidence).all()
    before = {name: value.clone() for name, value in result.model.state_dict().items()}
    assert np.isfinite(compare(X, a=result).frame()["log_likelihood"]["a"])
    gap_report(result.model, X[:6], samples=10, steps=3)
    for name, value in result.model.state_dict().items():  # batch statistics, too
        assert torch.equal(value, before[name]), name


class Counts(nn.Module):
    """Binomial cells: a support whose bound is a tensor."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 3)

    def forward(self, z):
        return dist.Binomial(10, logits=self.layer(z)).to_event(1)


class Shares(nn.Module):
    """Rows that sum to 1: a support of whole rows."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 3)

    def forward(self, z):
        return dist.Dirichlet(1 + self.layer(z).exp())


def test_supports_of_all_kinds():
    rng = np.random.default_rng(0)
    counts = rng.binomial(10, 0.3, (20, 3)).astype(float)
    model = VAE(MLPEncoder(3, 1, (4,)), Counts(), 1)
    assert torch.isfinite(fit(model, counts, SVI("analytic"), max_passes=2).bounds).all()
    counts[7, 1] = 11
    with pytest.raises(ValueError, match="row 7, column 1 holds 11, expected"):
        model.bound(counts)
    shares = rng.dirichlet([2, 3, 4], 20)
    model = VAE(MLPEncoder(3, 1, (4,)), Shares(), 1)
    assert torch.isfinite(fit(model, shares, SVI("analytic"), max_passes=2).bounds).all()
    shares[4] *= 2
    with pytest.raises(ValueError, match="row 4, column 0 holds"):
        model.bound(shares)


def test_a_table_that_draws_its_rows_is_the_same_for_each_fit_of_a_comparison():
    grey = torch.rand(30, 4, generator=torch.Generator().manual_seed(0))
    model = VAE(MLPEncoder(4, 2, (8,)), BernoulliDecoder(2, 4, (8,)), 2)
    state = torch.get_rng_state()
    result = fit(model, Binarized(grey), SVI("analytic"), max_passes=2, validation=Binarized(grey))
    frame = compare(Binarized(grey), a=result, b=result, held_out=Binarized(grey)).frame()
    assert torch.equal(torch.get_rng_state(), state)
    for column in ("log_likelihood", "elbo", "held_out"):
        assert frame[column]["a"] == frame[column]["b"]


def test_training_is_in_training_mode_however_the_model_comes():
    class Dropped(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 16))
            self.modes = []

        def forward(self, z):
            self.modes.append(self.training)
            return dist.Normal(self.layers(z), 1.0).to_event(1)

    model = VAE(MLPEncoder(16, 2, (8,)), Dropped(), 2).eval()
    result = fit(model, X, SVI("analytic"), max_passes=2)
    assert True in result.model.decoder.modes and False in result.model.decoder.modes


def test_a_frozen_decoder_has_no_free_parameters_and_a_frozen_model_nothing_to_fit():
    model = linear_vae(4, 2)
    model.decoder.requires_grad_(False)
    assert model.free_parameters() == 0
    model.encoder.requires_grad_(False)
    result = fit(model, X[:, :4], SVI("analytic"))
    assert (len(result.bounds), result.gradient_norm) == (1, 0.0)
    assert result.reason == "nothing to fit: every parameter is frozen"


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_units_far_from_one(unit):
    x = X[:, :4] * unit
    plain, scaled = (fit(linear_vae(4, 1), table, SVI("analytic"), max_passes=5) for table in (X[:, :4], x))
    found = evidence(scaled.model, x).mean + 4 * np.log(unit)
    assert found == pytest.approx(evidence(plain.model, X[:, :4]).mean, abs=0.05)


@pytest.mark.parametrize("unit", [1e-25, 1e25])
def test_units_beyond_float32_are_refused_and_fine_in_float64(unit):
    with pytest.raises(ValueError, match=r"column 0 has standard deviation .*, whose square leaves the range of this"):
        fit(linear_vae(4, 1), X[:, :4] * unit, SVI("analytic"))
    assert torch.isfinite(fit(linear_vae(4, 1).double(), X[:, :4] * unit, SVI("analytic"), max_passes=3).bounds).all()


def test_a_row_that_is_impossible_under_every_draw_is_as_good_as_unknown():
    model = VAE(MLPEncoder(2, 1, (4,)), GaussianDecoder(1, 2, (4,), "shared"), 1)
    with torch.no_grad():
        model.decoder.scale = torch.tensor(1e-3)
    x = np.array([[0.0, 0.0], [1e19, 0.0]])
    found = evidence(model, x, 10)
    assert found.log_evidence[1] == -torch.inf and found.standard_error[1] == torch.inf
    assert found.effective_samples[1] == 0 and not torch.isnan(found.standard_error).any()
    assert "they are worth fewer" in str(found)


def test_making_a_network_leaves_all_random_states(monkeypatch):
    """torch.manual_seed would also seed every GPU, which no fork puts back."""
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("all random states were seeded"))
    model = linear_vae(3, 1)
    fit(model, X[:, :3], SVI("analytic"), max_passes=2, restarts=2)
    model.sample(3, seed=0)
    evidence(model, X[:, :3], 5)
    assert len(Rows(X)) == 24


def test_anchor_of_earlier_versions_works_with_a_warning():
    with pytest.warns(DeprecationWarning, match="Anchored.anchor is now called set_units"):

        class Anchored(Network):
            unit = 1.0

            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(1, 2)

            def anchor(self, data):
                self.unit = data.variance.sqrt().float()

            def forward(self, z):
                return dist.Normal(self.layer(z), self.unit).to_event(1)

    result = fit(VAE(MLPEncoder(2, 1, (4,)), Anchored(), 1), X[:, :2] * 50, SVI("analytic"), max_passes=1)
    np.testing.assert_allclose(result.model.decoder.unit, X[:, :2].std(0) * 50, rtol=1e-5)
