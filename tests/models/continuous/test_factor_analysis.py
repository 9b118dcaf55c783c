"""A model of a user's own with a continuous latent variable: factor analysis against scipy and scikit-learn."""

import numpy as np
import pytest
import torch
from factor_analysis import FactorAnalysis
from scipy.stats import multivariate_normal

from lowerbound.datasets import load
from lowerbound.inference import SVI, fit
from lowerbound.models import ContinuousLatent, LatentModel

OPTIMUM = -2.8159  # nats per row: sklearn.decomposition.FactorAnalysis(1, tol=1e-9, max_iter=10000)


@pytest.mark.parametrize("elbo", ["sampled", "analytic"])
def test_factor_analysis_is_fitted_and_its_bound_is_the_gaussian_log_likelihood(elbo):
    x = load("iris")
    assert isinstance(FactorAnalysis(4, 1), LatentModel)
    result = fit(FactorAnalysis(4, 1), x, SVI(elbo, learning_rate=0.2), max_passes=100)
    model, rows = result.model, np.asarray(x, float)
    loc, loading, scale = (model.value(name).detach().numpy() for name in ("loc", "loading", "scale"))
    exact = multivariate_normal(loc, loading @ loading.T + np.diag(scale**2)).logpdf(rows)
    np.testing.assert_allclose(model.bound(x), exact, rtol=1e-9)
    np.testing.assert_allclose(result.bounds[-1], exact.mean(), rtol=1e-9)
    np.testing.assert_allclose(model.evidence(x), exact, rtol=1e-9)
    assert OPTIMUM - 0.1 < exact.mean() < OPTIMUM
    # every draw of an exact posterior gives log p(x)
    np.testing.assert_allclose(model.draws(x, 3).log_weights().detach(), np.tile(exact, (3, 1)), rtol=1e-9)


def test_what_the_base_class_gives_without_further_methods():
    model = FactorAnalysis(4, 2)
    assert model.free_parameters() == 4 + 8 + 4 - 1
    assert ContinuousLatent.free_parameters(model.freeze("loc")) == 8 + 4
    model.check()
    x, generator = load("iris"), torch.Generator().manual_seed(0)
    loc = model.loc.detach().clone()
    with pytest.raises(ValueError, match="loc is frozen but was never set"):
        model.initialize(x, None, generator)
    model.loc = loc
    model.initialize(x, None, generator)
    assert torch.equal(model.loc, loc) and model.is_set and list(model.schema.columns) == list(x.columns)
    scale, loading = model.scale.detach().clone(), model.loading.detach().clone()
    model.initialize(x, None, generator, redraw=False)
    assert torch.equal(model.loading, loading)
    model.initialize(x, None, generator)
    assert torch.equal(model.scale, scale) and not torch.equal(model.loading, loading)
    # the bound by draws, where no closed form is written
    by_draws, exact = ContinuousLatent.objective(model, x).detach(), model.bound(x)
    assert abs(float((by_draws - exact).mean())) < 4 * float((by_draws - exact).std()) / len(x) ** 0.5
    with pytest.raises(ValueError, match="leave them out"):
        model.bound(x, np.zeros(len(x), int))


def test_methods_that_are_not_written_are_named():
    x, model = load("iris"), ContinuousLatent()
    model.features, model.latent = 4, 1
    for name, call in {
        "decode": lambda: model.decode(torch.zeros(3, 1)),
        "encode": lambda: model.bound(x),
        "starting_values": lambda: fit(model, x, SVI()),
    }.items():
        with pytest.raises(NotImplementedError, match=f"ContinuousLatent has no {name}"):
            call()
