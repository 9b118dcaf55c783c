"""Frozen parameters: where a fit starts, what may go wrong, and their names."""

import copy

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from families import TABLE
from pyro.nn import PyroParam
from scipy import stats
from test_frozen import X, held, slope, value
from torch.distributions import constraints

from lowerbound import datasets
from lowerbound.inference import EM, SVI, fit, load
from lowerbound.models import (
    PPCA,
    VAE,
    AllowsFrozen,
    BernoulliDecoder,
    Collapse,
    Family,
    FamilyOf,
    GaussianMixture,
    KMeans,
    Mixture,
    MLPEncoder,
    PoissonMixture,
    StudentTMixture,
    check_family,
)
from lowerbound.models import seed as begun

# where it starts, what may go wrong


def test_frozen_locations_are_where_the_components_start():
    """Clusters of 40 and 20 rows far apart: their weights, in the order of the locations, from the first pass on."""
    model = GaussianMixture(2, 2)
    model.family.loc = [[6.0, -2.0], [0.0, 5.0]]
    for seed in range(5):
        start = copy.deepcopy(model.freeze("loc"))
        start.initialize(X, None, torch.Generator().manual_seed(seed))
        np.testing.assert_allclose(start.weights.detach(), [0.9 / 3 + 0.05, 0.6 + 0.05], rtol=1e-12)
    kmeans = KMeans(2, 2)
    kmeans.loc = model.family.loc.detach()
    assigned = fit(kmeans.freeze("loc"), X, EM(), restarts=3).model
    distances = ((X[:, None] - kmeans.loc.detach().numpy()) ** 2).sum(-1).min(1)
    assert float(assigned.distortion(X)) == pytest.approx(distances.sum(), rel=1e-12)
    assert float(value(assigned, "family.scale")) == pytest.approx((distances.mean() / 2) ** 0.5, rel=1e-12)


def test_a_component_without_weight_keeps_its_parameters():
    model = GaussianMixture(3, 2)
    model.family.loc = [[6.0, -2.0], [0.0, 5.0], [1e3, 1e3]]
    result = fit(model.freeze("loc"), X, EM(), labels=np.repeat([1, 0], [40, 20]), max_passes=3)
    assert result.model.weights[2] == 0
    assert torch.isfinite(result.model.family.scale_tril).all()


def test_a_mean_held_on_one_row_collapses():
    x = np.concatenate([X, [[50.0, 50.0]]])
    model = GaussianMixture(2, 2, "diag")
    model.family.loc = [[2.0, 3.0], [50.0, 50.0]]
    with pytest.raises(Collapse):
        fit(model.freeze("loc"), x, EM(), restarts=2)


@pytest.mark.parametrize("engine", [EM(), SVI("exact"), SVI()])
def test_nothing_to_fit(engine):
    model = PoissonMixture(2, 1)
    model.family.rate, model.weights = [[1.0], [5.0]], [0.4, 0.6]
    x = np.arange(9.0)[:, None]
    result = fit(model.freeze("weights", "family"), x, engine, restarts=2)
    assert (len(result.bounds), result.gradient_norm, result.converged) == (1, 0.0, True)
    assert result.reason == "nothing to fit: every parameter is frozen"
    each = 0.4 * stats.poisson.pmf(x, 1) + 0.6 * stats.poisson.pmf(x, 5)
    assert float(result.bounds[0]) == pytest.approx(np.log(each).mean(), rel=1e-12)
    assert model.free_parameters() == 0


def test_weights_alone_are_drawn_evenly_beside_frozen_components():
    model = PoissonMixture(2, 1)
    model.family.rate = [[1.0], [5.0]]
    model.weights = [0.9, 0.1]
    model.freeze("rate").initialize(np.arange(9.0)[:, None], None, torch.Generator())
    assert model.weights.tolist() == [0.5, 0.5]


def test_free_parameters_by_hand():
    model = GaussianMixture(3, 4)
    assert model.free_parameters() == 2 + 12 + 30
    assert model.freeze("weights").free_parameters() == 12 + 30
    assert model.freeze("loc").free_parameters() == 30
    assert model.thaw("weights").freeze("scale_tril").free_parameters() == 2
    assert GaussianMixture(3, 4, "tied").freeze("loc").free_parameters() == 2 + 10
    assert StudentTMixture(2, 3).freeze("dof").free_parameters() == 1 + 6 + 12
    assert KMeans(3, 4).freeze("loc").free_parameters() == 1
    assert PPCA(5, 2).freeze("loading").free_parameters() == 6
    assert PPCA(5, 2).freeze("loc", "scale").free_parameters() == 9


# names


def test_names_as_users_type_them():
    model = StudentTMixture(2, 2)
    assert model.freeze("family.loc", "dof") is model
    assert model.family.normal.is_frozen("loc") and model.family.is_frozen("dof")
    assert not model.is_frozen("weights") and not model.family.normal.is_frozen("scale_tril")
    assert not model.thaw("family.normal.loc").family.normal.is_frozen("loc")
    product = TABLE["product"].model()
    assert product.freeze("parts.1.rate", "weights").family.parts[1].is_frozen("rate")
    assert all(not p.requires_grad for p in product.freeze("family").parameters())
    assert (
        repr(GaussianMixture(2, 2).freeze("loc", "weights"))
        == "Mixture(Gaussian(2, 2, 'full', None, 0.0).freeze('loc'), None).freeze('weights')"
    )
    assert repr(KMeans(2, 2)) == "KMeans(2, 2)" and repr(KMeans(2, 2).freeze("loc")).endswith(".freeze('family.loc')")


@pytest.mark.parametrize("names", [("scale",), ("family.weights",), ("locs",), (["loc"],), ("",)])
def test_names_of_nothing(names, as_users_run_it):
    with pytest.raises(ValueError, match=r"none has, expected 'weights' or 'family.loc' or 'family.scale_tril'"):
        GaussianMixture(2, 2).freeze(*names)


def test_other_refusals():
    with pytest.raises(
        ValueError, match=r"'loc' as .* several have, expected 'family.parts.0.loc' or 'family.parts.1.loc'"
    ):
        mixed = Mixture(
            type(TABLE["product"].model().family)(FamilyOf(dist.Laplace, 2, 1), FamilyOf(dist.Normal, 2, 1))
        )
        mixed.freeze("loc")
    with pytest.raises(ValueError, match="the weights of KMeans never change"):
        KMeans(2, 2).thaw("weights")
    for engine in (EM(), SVI("exact")):
        with pytest.raises(ValueError, match=r"family.loc is frozen but was never set, expected a value to keep"):
            fit(GaussianMixture(2, 2).freeze("loc"), X, engine)
    with pytest.raises(ValueError, match=r"^loading is frozen but was never set"):
        fit(PPCA(2, 1).freeze("loading"), X, EM())


class Split(Family):
    """Normal columns, as a user writes them, with both parameters in `match`."""

    def __init__(self):
        super().__init__()
        self.mean = PyroParam(torch.zeros(2, 2).double(), constraints.real)
        self.variance = PyroParam(torch.ones(2, 2).double(), constraints.positive)

    def component(self, z=...):
        return dist.Normal(self.mean[z], self.variance[z].sqrt()).to_event(1)

    def statistics(self, x):
        return torch.cat([x, x**2], -1)

    def match(self, mean):
        first, second = mean.chunk(2, -1)
        self.mean, self.variance = first, second - first**2


class Careful(Split, AllowsFrozen):
    """The same, given the mean."""

    def match(self, mean):
        first, second = mean.chunk(2, -1)
        at = self.mean.detach() if self.is_frozen("mean") else first
        self.mean, self.variance = at, second - 2 * first * at + at**2


def test_a_family_of_a_users_own():
    model = Mixture(Split())
    model.family.mean = [[0.0, 4.0], [5.0, -1.0]]
    model.freeze("mean")
    words = r"mean of Split is frozen and variance is not, expected a family whose maximize\(\) finds the best of these"
    with pytest.raises(TypeError, match=words):
        fit(model, X, EM())
    svi = fit(model, X, SVI("exact"), max_passes=800)
    own = Mixture(Careful())
    own.family.mean = value(model, "family.mean")
    em = fit(own.freeze("mean"), X, EM(tol=1e-12), restarts=2)
    assert em.bounds[-1] == pytest.approx(float(svi.bounds[-1]), abs=1e-6)
    assert slope(em.model, X) < 1e-6
    check_family(Careful(), X)
    with pytest.raises(ValueError, match="Careless, mean frozen: where maximize"):
        check_family(type("Careless", (Split, AllowsFrozen), {})(), X)


# the rest of the house


@pytest.mark.drawn(3)
@pytest.mark.parametrize(
    "frozen", [["loc"], ["loading"], ["scale"], ["loc", "loading"], ["loc", "scale"], ["loading", "scale"]]
)
def test_ppca(frozen):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2)) @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(80, 4)) + 2
    model = PPCA(4, 2)
    for name, at in {
        "loc": torch.full((4,), 1.5),
        "loading": torch.randn(4, 2, generator=torch.manual_seed(0)),
        "scale": 0.8,
    }.items():
        if name in frozen:
            setattr(model, name, at)
    em = fit(model.freeze(*frozen), x, EM(tol=1e-13), restarts=2, max_passes=5000)
    svi = fit(model, x, SVI("exact"), max_passes=800)
    for name in frozen:
        for result in (em, svi):
            torch.testing.assert_close(value(result.model, name), value(model, name), rtol=1e-14, atol=0)
    assert em.bounds.diff().min() >= -1e-11 * (1 + em.bounds.abs().max())
    assert em.gradient_norm < 1e-6
    covariance = em.model.loading @ em.model.loading.T + em.model.scale**2 * torch.eye(4).double()
    by_scipy = stats.multivariate_normal(em.model.loc.detach(), covariance.detach()).logpdf(x).mean()
    assert float(em.bounds[-1]) == pytest.approx(by_scipy, rel=1e-12)
    assert float(svi.bounds[-1]) == pytest.approx(float(em.bounds[-1]), abs=1e-4)


def test_a_vae_keeps_a_frozen_decoder_through_restarts():
    x = (np.random.default_rng(0).random((40, 6)) < 0.4).astype(float)
    model = VAE(MLPEncoder(6, 2, (4,)), BernoulliDecoder(2, 6, (4,)), 2).freeze("decoder")
    before = [p.detach().clone() for p in model.decoder.parameters()]
    result = fit(model, x, SVI("analytic"), max_passes=3, restarts=2)
    assert all(map(torch.equal, before, result.model.decoder.parameters()))
    assert model.free_parameters() == 0
    assert any(p.requires_grad for p in model.parameters())


def test_a_pyro_loop_of_ones_own_leaves_it_alone():
    model = held("student", "loc")
    x, _ = TABLE["student"].data(30)
    model.initialize(x, None, torch.Generator().manual_seed(0))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step = pyro.infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 0.05}), pyro.infer.Trace_ELBO()).step
    for _ in range(3):
        step(x)
    assert {n for n, p in model.named_parameters() if torch.equal(p, before[n])} == {"family.normal.loc_unconstrained"}


def test_files_and_copies_remember(tmp_path):
    model = held("student", "loc")
    x, _ = TABLE["student"].data(40)
    result = fit(model, x, EM(), max_passes=3)
    result.save(tmp_path / "fit")
    read = load(tmp_path / "fit").model
    assert [p.requires_grad for p in read.parameters()] == [p.requires_grad for p in model.parameters()]
    assert torch.equal(read.family.loc, result.model.family.loc)
    assert copy.deepcopy(read).family.normal.is_frozen("loc")
    into = load(tmp_path / "fit", into=StudentTMixture(3, 2).freeze("dof")).model
    assert into.family.normal.is_frozen("loc") and not into.family.is_frozen("dof")
    fit(KMeans(2, 2), X, EM()).save(tmp_path / "kmeans")
    assert load(tmp_path / "kmeans").model.is_frozen("weights")


def test_checkpoints_know_what_is_frozen(tmp_path):
    model = held("student", "loc")
    x, _ = TABLE["student"].data(40)
    settings = {"max_passes": 6, "restarts": 2, "checkpoint": tmp_path / "run"}
    first, again = (fit(model, x, EM(), **settings) for _ in range(2))
    assert torch.equal(first.bounds, again.bounds) and again.model.family.normal.is_frozen("loc")
    with pytest.raises(
        ValueError, match=r"is of frozen parameters family.normal.loc_unconstrained, this run has .* none"
    ):
        fit(copy.deepcopy(model).thaw("loc"), x, EM(), **settings)


def test_restarts_with_frozen_places_begin_elsewhere():
    model = GaussianMixture(2, 2)
    model.family.loc = [[2.0, 55.0], [4.3, 80.0]]
    x = datasets.load("faithful")
    starts = [begun(copy.deepcopy(model).freeze("loc"), x, s).family.scale_tril.detach() for s in range(3)]
    assert not torch.allclose(starts[0], starts[1], rtol=1e-3) and not torch.allclose(starts[1], starts[2], rtol=1e-3)
    first = fit(model.freeze("loc"), x, EM(), restarts=4)
    assert first.optima[0].count == 4  # and meet at the top
