"""What can be set on a model: parameters by their short names; a name that nobody reads is refused."""

import copy

import numpy as np
import pytest
import torch
from pyro.nn import PyroParam, PyroSample

from lowerbound.inference import EM, fit
from lowerbound.models import (
    PPCA,
    BayesianMixture,
    Exponential,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    Poisson,
    Product,
    StudentT,
    StudentTMixture,
)

LOC = [[2.0, 55.0], [4.3, 80.0]]
MATRICES = np.array([[[2.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.0, 3.0]]])


def test_a_fit_starts_where_the_mixture_was_set():
    model = GaussianMixture(2, 2)
    model.loc, model.covariance, model.weights = LOC, MATRICES, [0.5, 0.5]
    np.testing.assert_allclose(model.family.loc.detach(), LOC)
    np.testing.assert_allclose(model.loc.detach(), LOC)
    np.testing.assert_allclose(model.family.scale_tril.detach(), np.linalg.cholesky(MATRICES))
    np.testing.assert_allclose(model.covariance.detach(), MATRICES)
    assert model.family.is_set and model.family.covariance == "full"
    x = np.random.default_rng(0).normal(size=(20, 2)) + 50
    first = fit(model, x, EM(), max_passes=1)
    assert float(first.bounds[0]) == pytest.approx(float(model.bound(x).mean()))


@pytest.mark.parametrize(
    "structure, shape", [("diag", (2, 2)), ("spherical", (2,)), ("tied-diag", (2,)), ("tied", None)]
)
def test_covariance_has_the_shape_of_the_structure(structure, shape):
    value = MATRICES[0] if shape is None else np.full(shape, 4.0)
    for model in (GaussianMixture(2, 2, structure), StudentTMixture(2, 2, covariance=structure)):
        model.covariance = value
        np.testing.assert_allclose(model.covariance.detach(), value)
    with pytest.raises(ValueError, match="covariance got"):
        model.covariance = -value


@pytest.mark.parametrize("value", [MATRICES[0], -MATRICES, np.triu(MATRICES), MATRICES * np.nan])
def test_covariance_is_checked(value):
    model = GaussianMixture(2, 2)
    with pytest.raises(ValueError, match="covariance got"):
        model.family.covariance = value
    assert not model.family.is_set


@pytest.mark.parametrize(
    "make, name, meant",
    [
        (lambda: GaussianMixture(2, 2), "means", "'loc'"),
        (lambda: GaussianMixture(2, 2), "weight", "'weights'"),
        (lambda: GaussianMixture(2, 2).family, "covariances", "'covariance'"),
        (lambda: Mixture(Poisson(2, 1)), "rates", "'rate'"),
        (lambda: Mixture(Poisson(2, 1)), "loc", "'rate' or 'weights'"),
        (lambda: StudentT(2, 2), "df", "'dof'"),
        (lambda: KMeans(2, 2), "cluster_centers_", "'loc'"),
        (lambda: PPCA(3, 1), "mean_", "has no 'mean_', expected 'loc'"),
        (lambda: BayesianMixture(Gaussian(2, 2)), "loc", "cannot be set"),
        (lambda: Mixture(Product(Poisson(2, 1), Exponential(2, 1))), "rate", "expected 'rate'"),  # of which part?
    ],
)
def test_a_name_that_nobody_reads_is_refused(make, name, meant):
    with pytest.raises(AttributeError) as caught:
        setattr(make(), name, LOC)
    assert meant in str(caught.value)


def test_what_torch_pyro_and_users_set_is_not_refused():
    class Own(Poisson):
        def __init__(self, components, features):
            super().__init__(components, features)
            self.note = "mine"

    family = Own(2, 1)
    family.later, family.extra = 3, torch.nn.Parameter(torch.ones(1))
    assert (family.note, family.later) == ("mine", 3) and "extra" in dict(family.named_parameters())
    model = copy.deepcopy(GaussianMixture(2, 2))
    model._private, model.schema, model.training = 1, None, False
    model.net, model.extra = torch.nn.Linear(2, 2), PyroParam(torch.ones(1))
    model.site = PyroSample(lambda self: torch.distributions.Normal(0, 1))
    with pytest.raises(AttributeError):
        model.nothing = 1
    assert not hasattr(model, "nothing")


class OwnMixture(Mixture):
    """A user's."""


class OwnBayes(BayesianMixture):
    """A user's."""


class WithLoc(Mixture):
    """A user's, with a `loc` of another meaning."""

    loc: str


def test_short_names_mean_the_same_on_a_users_class():
    model = OwnMixture(Gaussian(2, 2))
    model.loc, model.covariance = LOC, MATRICES
    assert model.family.is_set
    np.testing.assert_allclose(model.family.loc.detach(), LOC)
    np.testing.assert_allclose(model.loc.detach(), LOC)
    with pytest.raises(ValueError, match="shape"):
        model.loc = [1.0]
    model.remark = "mine"
    with pytest.raises(AttributeError, match="cannot be set"):
        OwnBayes(Gaussian(2, 2)).loc = LOC
    other = WithLoc(Gaussian(2, 2))
    other.loc = "London"
    assert other.loc == "London" and not other.family.is_set


@pytest.mark.parametrize("kind", [GaussianMixture, lambda k, d: OwnMixture(Gaussian(k, d))])
def test_a_torch_parameter_is_a_value_like_a_tensor(kind):
    value = torch.nn.Parameter(torch.tensor(LOC))
    for place in (lambda m: m, lambda m: m.family):
        model = kind(2, 2)
        place(model).loc = value
        np.testing.assert_allclose(model.family.loc.detach(), LOC, rtol=1e-6)
        assert not set(map(id, model.parameters())) & {id(value)}
    if kind is GaussianMixture:
        with pytest.raises(AttributeError, match="has no 'means', expected 'loc'"):
            model.means = value
        assert "means" not in dict(model.named_parameters())
