"""log p(x): exact where it has a closed form, else a mean of weights whose own mean, errors and bias are known."""

import math
import sys

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from continuous import Continuous
from ppca_oracles import log_density, random_ppca
from reference import COVARIANCES, bits, data, random_mixture
from reference import log_evidence as of_mixture
from scipy import stats
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.utils.data import DataLoader, TensorDataset
from vae_oracles import Noisy, log_evidence, quadrature, random_linear, small

from lowerbound import datasets
from lowerbound.inference import Evidence, evidence
from lowerbound.inference.criticism.evidence import log_weights
from lowerbound.models import (
    PPCA,
    VAE,
    BernoulliDecoder,
    GaussianDecoder,
    KMeans,
    MLPEncoder,
    PoissonMixture,
    Rows,
    seed,
)

X = data(n=30, d=4)
MODEL = random_ppca(4, 2, x=X)
EXACT = log_density(MODEL, X)


def wider(q, factor):
    return MultivariateNormal(q.mean, scale_tril=factor * q.scale_tril)


def weighted(model, x, samples=1000, seed=0, q=None):
    """By draws, whatever is known in closed form."""
    return evidence(model, x, samples, seed, q, closed_form=False)


# in closed form


def assert_exact(found, values, rtol=1e-9):
    np.testing.assert_allclose(found.log_evidence, values, rtol=rtol)
    assert found.exact
    assert (found.standard_error == 0).all()
    assert found.mean == pytest.approx(np.mean(values), rel=1e-9)
    assert found.mean_error == 0
    assert str(found).endswith("nats per row, in closed form")


def test_models_with_a_closed_form_are_exact():
    assert_exact(evidence(MODEL, X), EXACT)
    linear = random_linear(0)
    assert_exact(evidence(linear, X), log_evidence(linear, X))
    for covariance in COVARIANCES:
        mixture = random_mixture(covariance, X)
        found = evidence(mixture, X)
        assert_exact(found, of_mixture(mixture, X))
        assert found.samples == 0
        np.testing.assert_allclose(found.elbo, of_mixture(mixture, X), rtol=1e-9)
        assert (found.elbo_error == 0).all()
        assert (found.effective_samples == math.inf).all()


def test_the_elbo_beside_it_is_less_by_the_divergence_from_the_posterior():
    """4 standard errors on 30 rows x 2: a false alarm in .4 % of seeds. The evidence stays exact, q or no q."""
    posterior = MODEL.posterior(X)
    for factor in (0.7, 1.4):
        q = wider(posterior, factor)
        found = evidence(MODEL, X, samples=2000, q=q)
        assert_exact(found, EXACT)
        divergence = torch.distributions.kl_divergence(q, posterior)
        assert ((found.log_evidence - found.elbo - divergence).abs() < 4 * found.elbo_error).all()
    found = evidence(MODEL, X, samples=3)
    np.testing.assert_allclose(found.elbo, EXACT, rtol=1e-9)
    assert (found.elbo_error < 1e-9).all()


def test_the_evidence_of_k_means_is_that_of_the_mixture_and_above_its_bound():
    model = seed(KMeans(3, 4), X)
    loc, scale = model.family.loc.detach().numpy(), model.family.scale.detach().numpy()
    densities = [stats.norm(loc[k], scale[k] if scale.ndim else scale).logpdf(X).sum(1) for k in range(3)]
    by_hand = np.logaddexp.reduce(densities, 0) - math.log(3)
    found = evidence(model, X)
    assert_exact(found, by_hand)
    assert (found.log_evidence >= model.bound(X) - 1e-9).all()


def test_tables_of_every_kind():
    x = datasets.load("iris")
    model = PPCA.closed_form(x, 2)
    expected = evidence(model, x.to_numpy()).log_evidence
    for table in (x, torch.tensor(x.to_numpy()), Rows(x)):
        assert torch.equal(evidence(model, table).log_evidence, expected)
    counts = datasets.load("deaths")
    assert evidence(seed(PoissonMixture(2, 1), counts), counts).exact


# by weighted draws


def test_draws_from_the_exact_posterior_are_exact():
    """Every weight is p(x): one draw is enough, and worth itself."""
    for samples in (1, 10):
        found = weighted(MODEL, X, samples)
        np.testing.assert_allclose(found.log_evidence, EXACT, rtol=1e-9)
        assert not found.exact
        assert found.samples == samples
        assert (found.standard_error < 1e-9).all()
        np.testing.assert_allclose(found.effective_samples, samples, rtol=1e-9)


@pytest.mark.parametrize("factor", [1.1, 1.2, 1.4])
def test_the_mean_weight_is_the_evidence(factor):
    """Of each row, to 4 standard errors of 20,000 draws; 90 rows: a false alarm in .6 % of seeds. A q wider than the
    posterior has bounded weights, so that their standard deviation says what it should."""
    q = wider(MODEL.posterior(X), factor)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        ratio = (log_weights(MODEL, torch.tensor(X), q, 20_000) - torch.tensor(EXACT)).exp()
    assert ratio.shape == (20_000, 30)
    assert ((ratio.mean(0) - 1).abs() < 4 * ratio.std(0) / 20_000**0.5).all()
    assert ratio.max() <= factor**2 * (1 + 1e-9)  # (q + latent) / q at the mean, by hand: factor to the latent


@pytest.mark.parametrize("samples", [1, 7])
def test_the_numbers_are_those_of_the_weights(samples):
    """Log of the mean, its error by the delta method, and (sum w)^2 / sum w^2, in numpy."""
    q = wider(MODEL.posterior(X), 1.3)
    found = weighted(MODEL, X, samples, 5, q)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        z = q.sample((samples,)).numpy()
    loc, loading, scale = (p.detach().numpy() for p in (MODEL.loc, MODEL.loading, MODEL.scale))
    joint = stats.norm(loc + z @ loading.T, scale).logpdf(X).sum(-1) + stats.norm.logpdf(z).sum(-1)
    logs = joint - q.log_prob(torch.tensor(z)).numpy()
    weights = np.exp(logs - EXACT)
    np.testing.assert_allclose(found.elbo, logs.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.elbo_error, logs.std(0) / samples**0.5, atol=1e-9)
    np.testing.assert_allclose(found.log_evidence, np.log(weights.mean(0)) + EXACT, rtol=1e-9)
    np.testing.assert_allclose(found.standard_error, weights.std(0) / weights.mean(0) / samples**0.5, atol=1e-9)
    np.testing.assert_allclose(found.effective_samples, weights.sum(0) ** 2 / (weights**2).sum(0), rtol=1e-9)
    assert found.mean_error == pytest.approx(math.sqrt((found.standard_error**2).sum()) / 30, rel=1e-12)


def test_the_bound_by_weighting_rises_with_the_draws_and_stays_below():
    """In the mean: E[log mean of 1, 5, 25 weights]. Differences of means over 300 repetitions x 30 rows must be above 4
    standard errors: a false alarm in 1e-4 of seeds, if it were not so."""
    q = wider(MODEL.posterior(X), 1.4)
    means, errors = [], []
    for samples in (1, 5, 25):
        values = torch.stack([weighted(MODEL, X, samples, seed, q).log_evidence for seed in range(300)])
        missing = (torch.tensor(EXACT) - values).mean(1)
        means.append(missing.mean().item())
        errors.append(missing.std().item() / 300**0.5)
    for (low, low_error), (high, high_error) in zip(
        zip(means, errors, strict=True), [*zip(means[1:], errors[1:], strict=True), (0.0, 0.0)], strict=True
    ):
        assert low - high > 4 * math.hypot(low_error, high_error)


def test_standard_errors_are_honest():
    """+- 1.96 of them hold the exact value in 95 % of 200 x 30 cases: 93.5 to 96.5 % is 5 standard errors of that share
    (.28 %), so a false alarm in 1e-6 of seeds; and so for the mean over rows, in 200 cases, by 4 (1.5 %)."""
    q = wider(MODEL.posterior(X), 1.3)
    found = [weighted(MODEL, X, 200, seed, q) for seed in range(200)]
    off = torch.stack([f.log_evidence - torch.tensor(EXACT) for f in found])
    error = torch.stack([f.standard_error for f in found])
    assert 0.935 < (off.abs() < 1.96 * error).double().mean() < 0.965
    of_mean = np.array([abs(f.mean - EXACT.mean()) < 1.96 * f.mean_error for f in found])
    assert of_mean.mean() > 0.95 - 4 * 0.0154


DECODERS = {
    "bernoulli": BernoulliDecoder(1, 5, (4,)),
    "gaussian": GaussianDecoder(1, 5, (4,), variance_floor=0.1),
}


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS.keys())
def test_a_network_is_integrated_as_by_quadrature(decoder):
    """4 standard errors on 20 rows x 2: a false alarm in .3 % of seeds, and the seed is fixed."""
    model = VAE(MLPEncoder(5, 1, (4,)), decoder, 1).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    x = np.random.default_rng(0).integers(0, 2, (20, 5)).astype(float)
    exact = quadrature(model, x)
    q = Independent(Normal(torch.zeros(20, 1).double(), 1.2), 1)  # the encoder is not trained: wider than the prior
    found = evidence(model, x, samples=5000, q=q)
    assert ((found.log_evidence - exact).abs() < 4 * found.standard_error).all()
    assert (found.standard_error < 0.2).all()
    assert abs(found.mean - exact.mean()) < 4 * found.mean_error
    own = evidence(model, x, samples=2000)
    assert (own.log_evidence - exact).abs().max() < 1


def test_the_same_seed_gives_the_same_numbers():
    model, x = small("gaussian")
    state, held = torch.get_rng_state(), bits(model)
    a, b, c = (evidence(model, x, 50, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert bits(model) == held
    assert torch.equal(a.log_evidence, b.log_evidence)
    assert torch.equal(a.standard_error, b.standard_error)
    assert not torch.equal(a.log_evidence, c.log_evidence)
    assert not a.log_evidence.requires_grad


@pytest.mark.parametrize("cells", [4096, 80_000])
@pytest.mark.parametrize("family", ["full", "diag", "own"])
def test_chunks_change_the_draws_and_nothing_else(monkeypatch, cells, family):
    """q belongs to its rows in every chunk: each of them holds the exact value within 4 standard errors, on 6 x 30 rows
    (a false alarm in 1.1 % of seeds); with a q of other rows it would be far off."""
    posterior = MODEL.posterior(X)
    q = {
        "full": wider(posterior, 1.2),
        "diag": Independent(Normal(posterior.mean, 1.4 * posterior.stddev), 1),
        "own": None,
    }[family]
    monkeypatch.setattr(sys.modules["lowerbound.inference.criticism.evidence"], "CELLS", cells)
    found = weighted(MODEL, X, 100, q=q)
    assert found.log_evidence.shape == (30,)
    assert ((found.log_evidence - torch.tensor(EXACT)).abs() < 4 * found.standard_error + 1e-8).all()
    assert (found.effective_samples > 20).all()


def test_a_q_of_one_covariance_for_all_rows():
    q = MultivariateNormal(torch.zeros(30, 2).double(), covariance_matrix=2 * torch.eye(2).double())
    linear = random_linear(0)
    x = linear.sample(30, seed=0)
    found = weighted(linear, x, 4000, q=q)
    off = (found.log_evidence - torch.tensor(log_evidence(linear, x.numpy()))).abs()
    assert (off < 5 * found.standard_error).all()


def test_evaluation_mode_and_no_trace():
    """Batch normalisation holds its statistics, dropout is off: the same numbers again, the module as it was."""
    model = VAE(Noisy(), BernoulliDecoder(2, 6, (5,)), 2).double()
    x = np.eye(6)
    held = bits(model)
    a, b = evidence(model, x, 20), evidence(model, x, 20)
    assert torch.equal(a.log_evidence, b.log_evidence)
    assert bits(model) == held
    assert all(part.training for part in model.modules())
    assert list(pyro.get_param_store().keys()) == []


# models of the bare contract


def test_a_model_of_the_bare_contract():
    """z ~ N(0, I), x | z ~ N(z, I): x ~ N(0, 2 I). Its guide is the posterior; a wider q within 4 standard errors."""
    x = torch.tensor(np.random.default_rng(0).standard_normal((20, 2)))
    exact = stats.norm(0, math.sqrt(2)).logpdf(x).sum(1)
    found = evidence(Continuous(), x, samples=10)
    assert not found.exact
    np.testing.assert_allclose(found.log_evidence, exact, rtol=1e-6)
    q = Independent(Normal(x / 2, torch.full_like(x, 0.9)), 1)
    found = evidence(Continuous(), x, samples=3000, q=q)
    assert ((found.log_evidence - torch.tensor(exact)).abs() < 4 * found.standard_error).all()


class Discrete(Continuous):
    """A latent of two values, and no closed form told."""

    def model(self, x, weights=None, labels=None, rows=None):
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.ones(2).double() / 2))
            return pyro.sample("x", dist.Normal(z.double()[..., None], torch.ones(2)).to_event(1), obs=x)

    def posterior(self, x):
        return dist.Categorical(torch.ones(len(x), 2).double() / 2)


def test_a_discrete_latent_without_a_closed_form():
    words = r"q\(z \| x\) is a Categorical, expected a continuous latent: elbo_gap sums over a discrete one"
    x = torch.zeros(4, 2).double()
    with pytest.raises(TypeError, match=words):
        evidence(Discrete(), x)
    mixture = random_mixture("full", X)
    with pytest.raises(TypeError, match=words):
        evidence(mixture, X, closed_form=False)
    with pytest.raises(TypeError, match=words):
        weighted(mixture, X, q=mixture.posterior(X))


def test_a_given_q_of_a_discrete_latent_is_not_passed_over():
    """It is summed over, not drawn: the ELBO of another q than the guide's is what elbo_gap has."""
    mixture = random_mixture("full", X)
    q = dist.Categorical(torch.ones(30, 3).double() / 3)
    with pytest.raises(TypeError, match="Categorical, expected a continuous latent: elbo_gap sums over a discrete one"):
        evidence(mixture, X, q=q)


# what is said, and what is refused


def test_what_is_printed():
    values = torch.tensor([-1.0, -2.0]).double()
    errors = torch.tensor([0.3, 0.4]).double()
    found = Evidence(values, errors, values, errors, torch.tensor([50.0, 3.0]).double(), 100, False)
    assert str(found) == (
        "log p(x) = -1.5000 +- 0.25 nats per row, by 100 draws; for 1 rows they are worth fewer than 10: raise samples"
    )
    enough = Evidence(values, errors, values, errors, torch.tensor([50.0, 30.0]).double(), 100, False)
    assert "worth" not in str(enough)
    assert str(evidence(MODEL, X)) == f"log p(x) = {EXACT.mean():.6f} nats per row, in closed form"


@pytest.mark.parametrize("samples", [0, -3])
def test_no_draws(samples):
    with pytest.raises(ValueError, match=f"samples is {samples}, expected a whole number of draws of at least 1"):
        evidence(MODEL, X, samples=samples)


@pytest.mark.parametrize("n", [1, 29, 31])
def test_a_q_of_another_number_of_rows(n):
    q = MultivariateNormal(torch.zeros(n, 2).double(), torch.eye(2).double())
    with pytest.raises(ValueError, match=rf"q has batch shape \({n},\), expected \(30,\): one for each row"):
        evidence(MODEL, X, q=q)


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_rows():
    with pytest.raises(ValueError, match="got 2 columns, expected 4"):
        evidence(MODEL, X[:, :2])
    spoiled = X.copy()
    spoiled[3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3, column 1 holds NaN"):
        evidence(MODEL, spoiled)


def test_rows_with_weights_are_refused():
    """What comes back is of each row: those of weight zero would be missing, and a mean would leave the others out."""
    with pytest.raises(ValueError, match="got rows with weights, expected a plain table"):
        evidence(MODEL, Rows(X, np.ones(30)))


def test_a_shuffling_loader_takes_no_q():
    loader = DataLoader(TensorDataset(torch.tensor(X)), batch_size=7, shuffle=True)
    with pytest.raises(ValueError, match="got a DataLoader and a q for each row, which a loader may shuffle"):
        evidence(MODEL, loader, 5, q=MODEL.posterior(X))
