"""Factor analysis as a model of a user's own: x = loc + loading z + noise, with its own noise in each column."""

import pyro.distributions as dist
import torch
from pyro.nn import PyroParam
from torch.distributions import constraints

from lowerbound.models import ContinuousLatent


class FactorAnalysis(ContinuousLatent):
    """z ~ N(0, I), x | z ~ N(loc + loading z, diag(scale^2))."""

    def __init__(self, features, latent):
        super().__init__()
        self.features, self.latent = features, latent
        self.loc = PyroParam(torch.zeros(features).double())
        self.loading = PyroParam(torch.eye(features, latent).double())
        self.scale = PyroParam(torch.ones(features).double(), constraints.positive)

    def decode(self, z):
        return dist.Normal(self.loc + z @ self.loading.T, self.scale).to_event(1)

    @torch.no_grad()
    def encode(self, x):  # the exact posterior
        ratio = self.loading / self.scale.unsqueeze(-1)
        precision = torch.eye(self.latent).to(ratio) + ratio.T @ ratio
        mean = torch.linalg.solve(precision, ratio.T @ ((x - self.loc) / self.scale).T).T
        return dist.MultivariateNormal(mean, precision_matrix=precision)

    def starting_values(self, data, generator):
        deviation = (data.variance / 2).sqrt()
        noise = torch.randn(self.features, self.latent, generator=generator)
        return {"loc": data.mean, "loading": deviation.unsqueeze(-1) * noise, "scale": deviation}

    # optional: rotations of z change nothing; and encode is exact, so that the bound is log p(x)

    has_exact_bound = True

    def free_parameters(self):
        return super().free_parameters() - self.latent * (self.latent - 1) // 2

    def objective(self, x, labels=None):
        p = dist.LowRankMultivariateNormal(self.loc, self.loading, self.scale**2)
        return p.log_prob(self.checked(x, labels))

    def evidence(self, x):
        return self.bound(x)
