"""Full covariances in many columns: the pass by panels against the slow reference, and where it is taken."""

import numpy as np
import pytest
import torch

from lowerbound.models.gaussian import Gaussian
from lowerbound.models.wide_pass import PANEL, WidePass
from tests.reference import log_evidence, new_mixture, responsibilities, set_parameters


def mixture(d, k, apart=3.0, seed=0):
    rng = np.random.default_rng(seed)
    centres = apart * rng.standard_normal((k, d))
    widths = 10.0 ** rng.uniform(-1, 1, d)
    x = (centres[rng.integers(k, size=300)] + rng.standard_normal((300, d))) * widths
    model = new_mixture("full", k, d)
    factors = np.eye(d) + 0.2 * rng.standard_normal((k, d, d)) / d**0.5
    scales = np.diag(widths) @ factors
    set_parameters(model, rng.dirichlet(np.full(k, 5.0)), centres * widths, scales @ scales.transpose(0, 2, 1))
    model.initialize(x, None, torch.Generator(), redraw=False)
    return model, x


@pytest.mark.parametrize("apart", [3.0, 60.0])  # squared distances in widths of 1e2, and of 1e5
@pytest.mark.parametrize(("d", "k"), [(24, 2), (2 * PANEL, 3), (2 * PANEL + 1, 5)])
def test_the_pass_by_panels_is_the_slow_one(d, k, apart):
    model, x = mixture(d, k, apart)
    assert isinstance(model.family.visit().block, WidePass)
    weights = np.random.default_rng(1).uniform(0, 2, len(x))
    found = model.expect(x, weights)
    r = responsibilities(model, x) * weights[:, None]
    for j, origin in enumerate(model.family.origin.numpy()):
        y = x - origin
        second = (y * r[:, j, None]).T @ y
        expected = np.append(r[:, j] @ y, second[np.triu_indices(d)])
        width = np.sqrt(np.diag(second) / r[:, j].sum())  # of the component itself, however far the others are
        spread = np.append(width, np.outer(width, width)[np.triu_indices(d)]) * len(x)
        assert np.abs((found.total[j].numpy() - expected) / spread).max() < 1e-10
    np.testing.assert_allclose(found.bound.item(), log_evidence(model, x) @ weights, rtol=1e-11)


def test_components_far_apart_keep_their_digits():
    model, x = mixture(24, 2, apart=1e8)
    assert not isinstance(model.family.visit().block, WidePass)
    np.testing.assert_allclose(model.expect(x).bound.item(), log_evidence(model, x).sum(), rtol=1e-9)


@pytest.mark.parametrize(
    ("d", "k", "wide"), [(2, 1, False), (16, 3, False), (32, 10, True), (32, 32, False), (64, 16, True)]
)
def test_it_is_taken_where_products_of_columns_cost_more_than_components(d, k, wide):
    assert isinstance(Gaussian(k, d).visit().block, WidePass) == wide
    assert not isinstance(Gaussian(k, d, "diag").visit().block, WidePass)
