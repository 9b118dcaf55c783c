"""Gamma columns with one value far below or above the others, by scipy and by `FamilyOf`."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from lowerbound.inference import EM, fit
from lowerbound.models import FamilyOf, Gamma, GammaMixture, Mixture

SHARES = np.random.default_rng(0).beta(2, 5, size=(300, 1))


@pytest.mark.parametrize("value", [1e-15, 1e-20, 1e-100, 1e-320, 1e20, 1e150])
def test_one_component_is_where_scipy_ends(value):
    x = np.r_[SHARES, [[value]]]
    a, _, scale = stats.gamma.fit(x, floc=0)
    found = fit(GammaMixture(1, 1), x, EM())
    assert found.converged
    assert float(found.bounds[-1]) == pytest.approx(stats.gamma.logpdf(x, a, scale=scale).mean(), rel=1e-6)
    assert found.model.family.concentration.item() == pytest.approx(a, rel=1e-5)


@pytest.mark.parametrize("value", [1e-20, 1e-300])
def test_two_components_are_those_of_any_distribution(value):
    x = np.r_[SHARES, [[value]]]
    ours, plain = (fit(model, x, EM()) for model in (GammaMixture(2, 1), Mixture(FamilyOf(dist.Gamma, 2, 1))))
    assert ours.converged and float(ours.bounds[-1]) == pytest.approx(float(plain.bounds[-1]), abs=1e-6)


def test_a_component_of_which_no_row_reaches_the_rounding_of_the_mean():
    """No NaN: all its rows look equal there, which the check calls a collapse."""
    family = Gamma(2, 1)
    x = torch.tensor([[1.0], [2.0], [1e-30], [3e-30]], dtype=torch.float64)
    family.unit = torch.tensor([0.75], dtype=torch.float64)
    share = torch.eye(2, dtype=torch.float64).repeat_interleave(2, 0)
    family.maximize(share.sum(0), family.summarize(x, share))
    assert family.concentration.isfinite().all() and family.rate.isfinite().all()
    assert (family.concentration / family.rate)[1].item() == pytest.approx(3**0.5 * 1e-30, rel=1e-6)
    assert family.shrunk(torch.tensor([0.5, 0.5])).tolist() == [[False], [True]]
