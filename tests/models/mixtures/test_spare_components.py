"""More components than distinct rows: a prior says where those without rows are."""

import numpy as np
import pyro.infer.autoguide as autoguide
import pytest
import torch

from lowerbound.inference import EM, fit
from lowerbound.models import (
    BayesianMixture,
    Bernoulli,
    BernoulliMixture,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    Product,
)

YES_NO = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]).repeat([10, 20, 30, 40], 0)  # four distinct rows
SPARE = {
    "weak": (BernoulliMixture(6, 2, prior="weak"), EM()),
    "bayes": (BayesianMixture(Bernoulli(6, 2)), EM()),
    "guide": (BayesianMixture(Bernoulli(6, 2), guide=autoguide.AutoDelta), EM()),
}


@pytest.mark.parametrize(("model", "engine"), SPARE.values(), ids=SPARE.keys())
def test_spare_components_are_fitted(model, engine):
    """With as many components as distinct rows or more, every table of shares is possible: the observed one, nearly."""
    found = fit(model, YES_NO, engine, restarts=2, max_passes=150).model
    np.testing.assert_allclose(found.evidence(YES_NO[[0, 10, 30, 60]]).exp().detach(), [0.1, 0.2, 0.3, 0.4], atol=0.03)


def test_fewer_rows_than_components():
    """A component without rows is where the prior is: at the mean of the data."""
    x = np.array([[0.0, 0.0], [4.0, 1.0], [0.0, 5.0]])
    for model in (GaussianMixture(5, 2, prior="weak"), BayesianMixture(Gaussian(5, 2))):
        found = fit(model, x, EM(), restarts=2).model
        assert found.family.loc.isfinite().all() and found.bound(x).isfinite().all()
        assert found.weights.sum().item() == pytest.approx(1.0)


def test_known_centres_and_weights_of_zero():
    weights, labels = np.where(YES_NO[:, 0] == 0, 1.0, 0.0), np.where(np.arange(100) == 0, 4, -1)  # two distinct rows
    model = fit(BernoulliMixture(5, 2, prior="weak"), YES_NO, EM(), weights=weights, labels=labels).model
    assert model.evidence(YES_NO[:1]).isfinite().all() and torch.isfinite(model.weights).all()


def test_without_a_prior_of_every_column_it_is_refused():
    half = Mixture(Product(Bernoulli(6, 1), Bernoulli(6, 1, prior="weak")))
    for model in (BernoulliMixture(6, 2), KMeans(6, 2), half):
        with pytest.raises(ValueError, match=r"4 distinct rows .*6 components: use fewer components, or a model with"):
            fit(model, YES_NO, EM())
