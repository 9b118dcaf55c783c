"""What tables show of a distribution without mean and variance: its parameters."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroParam
from torch.distributions import constraints

from lowerbound.models import Family, Mixture


class WithoutMoments(Family):
    """Cauchy has a mean of NaN; a transformed distribution raises an empty NotImplementedError."""

    def __init__(self, make):
        super().__init__()
        self.make = make
        self.loc = PyroParam(torch.tensor([[0.0, 1.0], [5.0, 6.0]]).double())
        self.scale = PyroParam(torch.tensor([1.0, 2.0]).double(), constraints.positive)

    def component(self, z=...):
        return self.make(self.loc[z], self.scale[z].unsqueeze(-1)).to_event(1)


def logistic(loc, scale):
    transforms = [torch.distributions.SigmoidTransform(), torch.distributions.AffineTransform(0.0, 2.0)]
    return dist.TransformedDistribution(dist.Normal(loc, scale), transforms)


@pytest.mark.parametrize("make", [dist.Cauchy, logistic])
def test_the_table_shows_parameters(make):
    family = WithoutMoments(make)
    family.loc, family.scale = family.loc.detach() + 1, [1.0, 2.0]
    table = Mixture(family).summary(["a", "b"])
    assert list(table.columns) == ["weight", "loc of a", "loc of b", "scale"]
    np.testing.assert_allclose(table.to_numpy()[:, 1:], [[1, 2, 1], [6, 7, 2]])
