"""check_model over every model of the collection, and over models that break one thing each."""

import copy
import dataclasses
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from lowerbound.inference import EM, OnlineEM, fit
from lowerbound.models import (
    PPCA,
    VAE,
    BayesianMixture,
    Bernoulli,
    BernoulliDecoder,
    BernoulliMixture,
    CategoricalMixture,
    Exponential,
    ExponentialMixture,
    FamilyOf,
    GammaMixture,
    Gaussian,
    GaussianDecoder,
    GaussianMixture,
    KMeans,
    Mixture,
    MLPEncoder,
    MultinomialMixture,
    NegativeBinomialMixture,
    Poisson,
    PoissonMixture,
    Product,
    StudentTMixture,
    SupportsEM,
    check_model,
    linear_vae,
    seed,
)

GENERATOR = torch.Generator().manual_seed(0)
NUMBERS = torch.cat([torch.randn(30, 3, generator=GENERATOR), torch.randn(30, 3, generator=GENERATOR) + 5]).double()
COUNTS = torch.cat([torch.poisson(torch.full((30, 3), rate), generator=GENERATOR) for rate in (2.0, 9.0)]).double()
BITS = (torch.rand(60, 4, generator=GENERATOR) < 0.4).double()
POSITIVE = NUMBERS.abs() + 0.1

MODELS = {
    "gaussian": (lambda: GaussianMixture(2, 3), NUMBERS),
    "gaussian-map": (lambda: GaussianMixture(2, 3, "tied", prior="weak", concentration=2.0), NUMBERS),
    "student": (lambda: StudentTMixture(2, 3), NUMBERS),
    "categorical": (lambda: CategoricalMixture(2, [2] * 4), BITS),
    "bernoulli": (lambda: BernoulliMixture(2, 4), BITS),
    "poisson": (lambda: PoissonMixture(2, 3), COUNTS),
    "negative-binomial": (lambda: NegativeBinomialMixture(2, 3), COUNTS),
    "multinomial": (lambda: MultinomialMixture(2, 3), COUNTS + 1),
    "exponential": (lambda: ExponentialMixture(2, 3), POSITIVE),
    "gamma": (lambda: GammaMixture(2, 3), POSITIVE),
    "family-of": (lambda: Mixture(FamilyOf(dist.Laplace, 2, 3)), NUMBERS),
    "product": (
        lambda: Mixture(Product(Gaussian(2, 2), Exponential(2, 1))),
        torch.cat([NUMBERS[:, :2], POSITIVE[:, :1]], 1),
    ),
    "kmeans": (lambda: KMeans(2, 3), NUMBERS),
    "ppca": (lambda: PPCA(3, 1), NUMBERS),
    "vae": (lambda: VAE(MLPEncoder(3, 2), GaussianDecoder(2, 3), latent=2), NUMBERS),
    "vae-bernoulli": (lambda: VAE(MLPEncoder(4, 2), BernoulliDecoder(2, 4), latent=2), BITS),
    "linear-vae": (lambda: linear_vae(3, 1), NUMBERS),
    "bayes-gaussian": (lambda: BayesianMixture(Gaussian(2, 3)), NUMBERS),
    "bayes-poisson": (lambda: BayesianMixture(Poisson(2, 3)), COUNTS),
    "bayes-bernoulli": (lambda: BayesianMixture(Bernoulli(2, 4), stick_breaking=True), BITS),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_keeps_the_contract(name):
    make, x = MODELS[name]
    model = make()
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    check_model(model, x)
    assert torch.equal(torch.random.get_rng_state(), state)
    for key, value in model.state_dict().items():  # it is not changed
        torch.testing.assert_close(value, before[key], rtol=0, atol=0, equal_nan=True)


class Faulty(type(GaussianMixture(1, 1))):
    """A Gaussian mixture with one fault."""

    def __init__(self):
        super().__init__(Gaussian(2, 3))


class StartsFromGlobalState(Faulty):
    def initialize(self, x, weights, generator, redraw=True):
        super().initialize(x, weights, generator, redraw)
        self.family.loc = self.family.loc.detach() + torch.rand(())


class ForgetsToKeep(Faulty):
    def initialize(self, x, weights, generator, redraw=True):
        super().initialize(x, weights, generator, True)
        self.family.loc = self.family.loc.detach() + generator.initial_seed()


class KeepsItsPlaceholders(Faulty):
    def initialize(self, x, weights, generator, redraw=True):
        if redraw:
            super().initialize(x, weights, generator, redraw)


class NoGradientToTheDecoder(PPCA):
    def __init__(self):
        super().__init__(3, 1)

    def draws(self, x, samples=1, q=None, trusted=False):
        found = super().draws(x, samples, q, trusted)
        return dataclasses.replace(found, log_likelihood=found.log_likelihood.detach())


class BoundOfColumns(Faulty):
    def bound(self, x, labels=None):
        return super().bound(x, labels).unsqueeze(-1)


class BoundWithGradient(Faulty):
    def bound(self, x, labels=None):
        return self.objective(x, labels)


class OtherObjective(Faulty):
    def objective(self, x, labels=None):
        return super().objective(x, labels) + 0.01

    def bound(self, x, labels=None):
        return super().objective(x, labels).detach()


class DetachedObjective(Faulty):
    def objective(self, x, labels=None):
        return super().objective(x, labels).detach()


class BoundOfNeighbours(Faulty):
    def objective(self, x, labels=None):
        value = super().objective(x, labels)
        return value - value.mean()


class BoundAboveEvidence(Faulty):
    def evidence(self, x):
        return super().evidence(x) - 1.0


class UnscaledPair(Faulty):
    def model(self, x, weights=None, labels=None, rows=None):
        return super().model(x, None, labels, rows)

    def guide(self, x, weights=None, labels=None, rows=None):
        return super().guide(x, None, labels, rows)


class PriorInThePlate(Faulty):
    def model(self, x, weights=None, labels=None, rows=None):
        with pyro.plate("more", len(x)), poutine.scale(scale=2.0):
            pyro.factor("again", torch.full((len(x),), 0.5, dtype=torch.float64))
        return super().model(x, weights, labels, rows)


class SamplesFromGlobalState(Faulty):
    def sample(self, n, seed=None, labels=False):
        return super().sample(n, None, labels)


class SamplesTooMany(Faulty):
    def sample(self, n, seed=None, labels=False):
        return super().sample(n + 1, seed, labels)


class TooManyParameters(Faulty):
    def free_parameters(self):
        return 10_000


class LowersTheBound(Faulty):
    def maximize(self, statistics, length=1.0):
        super().maximize(statistics, length)
        self.family.loc = self.family.loc.detach() * 0.5


class AveragesStatistics(Faulty):
    def expect(self, x, weights=None, labels=None, dtype=None):
        statistics = super().expect(x, weights, labels, dtype)
        return type(statistics)(statistics.weight, statistics.total / len(x), statistics.bound, statistics.total_weight)


class IgnoresWeights(Faulty):
    def expect(self, x, weights=None, labels=None, dtype=None):
        return super().expect(x, None, labels, dtype)


class RelabelsHalf(Faulty):
    def permute(self, order):
        self.family.permute(order)
        self.family.loc = self.family.loc.detach() + 1.0


class WrongFisher(Faulty):
    def expected_log_joint(self, statistics):
        return 2 * super().expected_log_joint(statistics)


class EvidenceFarAboveTheBound(Faulty):
    def evidence(self, x):
        return super().evidence(x) + 100.0


class ImputesOverObservedValues(Faulty):
    def impute(self, x):
        filled = super().impute(x)
        return dataclasses.replace(filled, values=filled.values + 1.0)


class EvidenceOff(PPCA):
    def __init__(self, off):
        super().__init__(3, 1)
        self.off = off

    def evidence(self, x):
        return self.bound(x) + self.off


class NoModule:
    """A Gaussian mixture behind an object that is no torch.nn.Module and has no state_dict()."""

    def __init__(self, without=()):
        inner = GaussianMixture(2, 3)
        for name in (n for n in dir(SupportsEM) if not n.startswith("_") and n not in without):
            setattr(self, name, inner.generalized if name == "generalized" else Forwarded(inner, name))


class Forwarded:
    """A method of another object, which is copied with it."""

    def __init__(self, inner, name):
        self.inner, self.name = inner, name

    def __call__(self, *args, **kwargs):
        return getattr(self.inner, self.name)(*args, **kwargs)


FAULTS = {
    StartsFromGlobalState: "initialize.. gives other parameters for the same generator",
    KeepsItsPlaceholders: r"initialize\(redraw=False\) leaves all parameters .* as the constructor made them",
    NoGradientToTheDecoder: r"elbo\(\) of draws\(x\) carries no gradient",
    ForgetsToKeep: r"initialize\(redraw=False\) changes parameters",
    BoundOfColumns: r"bound\(x\) of 60 rows is of shape",
    BoundWithGradient: "carries a gradient, expected none",
    OtherObjective: r"objective\(x\) differs from bound",
    DetachedObjective: "carries no gradient, expected one",
    BoundOfNeighbours: "depends on the rows beside it",
    BoundAboveEvidence: r"above log p\(x\)",
    EvidenceFarAboveTheBound: r"evidence\(x\) is above bound\(x\) by up to 100 nats",
    partial(EvidenceOff, 100.0): r"evidence\(x\) is above bound\(x\) by up to 100 nats",
    partial(EvidenceOff, -100.0): r"above log p\(x\) by up to 100 nats",
    ImputesOverObservedValues: r"impute\(x\).values changes observed values",
    UnscaledPair: "weights",
    PriorInThePlate: "Trace_ELBO of the pair",
    SamplesFromGlobalState: r"sample\(n, seed\)",
    SamplesTooMany: r"sample\(5\) has shape \(6, 3\)",
    TooManyParameters: r"free_parameters\(\) is 10000",
    LowersTheBound: r"maximize\(\) lowers the bound",
    AveragesStatistics: "total of expect",
    IgnoresWeights: "with 2",
    RelabelsHalf: r"permute\(order\) changes bound",
    WrongFisher: "Fisher's identity",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda kind: str(getattr(kind, "__name__", getattr(kind, "args", kind))))
def test_what_breaks_the_contract_is_named(fault):
    with pytest.raises(ValueError, match=FAULTS[fault]):
        check_model(fault(), NUMBERS)


@pytest.mark.parametrize("name", ["poisson", "ppca", "vae", "bayes-poisson"])
def test_fitted_models_of_ours_pass(name):
    """What they keep from the fit is no placeholder."""
    make, x = MODELS[name]
    check_model(seed(make(), x), x)


def test_missing_methods_are_listed():
    with pytest.raises(TypeError, match=r"object lacks bound, check, .* expected the methods of LatentModel"):
        check_model(object(), NUMBERS)


def test_a_model_need_not_be_a_module(tmp_path):
    """It fits and is checked; what needs its state says so."""
    check_model(NoModule(), NUMBERS)
    assert fit(NoModule(), NUMBERS, EM(), max_passes=2).bounds.isfinite().all()
    with pytest.raises(TypeError, match=r"NoModule has no state_dict\(\) .*, expected them for a checkpoint"):
        fit(NoModule(), NUMBERS, EM(), checkpoint=tmp_path / "run.ckpt")


def test_em_names_the_members_that_are_missing():
    old = NoModule(without=("remeasure", "generalized"))
    old.carry = lambda statistics: statistics
    with pytest.raises(TypeError, match=r"NoModule lacks generalized, remeasure \(carry is now called remeasure\)"):
        fit(old, NUMBERS, EM())
    with pytest.raises(TypeError, match=r"OnlineEM needs the members of SupportsEM, and NoModule lacks remeasure: "):
        fit(NoModule(without=("remeasure",)), NUMBERS, OnlineEM(32))


def test_carry_of_earlier_versions_works_with_a_warning():
    model = GaussianMixture(2, 3)
    seed(model, NUMBERS)
    statistics = model.expect(NUMBERS)
    with pytest.warns(DeprecationWarning, match="Mixture.carry is now called remeasure"):
        assert torch.equal(model.carry(statistics).total, statistics.total)
