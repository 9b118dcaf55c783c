"""Small VAEs, and what is known of linear ones in closed form, written in numpy: oracles for continuous latents."""

import math

import numpy as np
import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from lowerbound.models import (
    VAE,
    BernoulliDecoder,
    CategoricalDecoder,
    ContinuousBernoulliDecoder,
    GaussianDecoder,
    MLPEncoder,
    linear_vae,
)

D, Q, N = 4, 2, 30
X = np.random.default_rng(0).standard_normal((N, Q)) @ np.random.default_rng(1).standard_normal((Q, D)) + 0.5
X = X + 0.4 * np.random.default_rng(2).standard_normal((N, D))
PIXELS = (np.random.default_rng(3).random((12, 6)) < 0.4).astype(float)


def random_linear(draw=0, covariance="diag", d=D, q=Q):
    """A linear VAE in float64 with random parameters: nothing near an optimum, q(z | x) wide of the posterior."""
    model = linear_vae(d, q, covariance).double()
    generator = torch.Generator().manual_seed(draw)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        model.decoder.loc += torch.randn(d, generator=generator, dtype=torch.float64)
        model.decoder.unit *= 1.3
        model.encoder.unit *= 0.8
    return model


def decoder_of(model):
    """x = loc + loading z + scale * noise: read off the network by evaluating it at 0 and at unit vectors."""
    with torch.no_grad():
        points = torch.cat([torch.zeros(1, model.latent), torch.eye(model.latent)]).double()
        made = model.decoder(points).base_dist
    loc = made.loc[0].numpy()
    return loc, made.loc[1:].numpy().T - loc[:, None], made.scale[0, 0].item()


def exact_posterior(model, x):
    """From the joint covariance of (z, x)."""
    loc, loading, scale = decoder_of(model)
    gain = np.linalg.solve(loading @ loading.T + scale**2 * np.eye(len(loc)), loading).T
    covariance = np.eye(loading.shape[1]) - gain @ loading
    covariance = torch.tensor((covariance + covariance.T) / 2)
    return MultivariateNormal(torch.tensor((x - loc) @ gain.T), covariance.expand(len(x), -1, -1))


def log_evidence(model, x):
    from scipy import stats

    loc, loading, scale = decoder_of(model)
    return stats.multivariate_normal(loc, loading @ loading.T + scale**2 * np.eye(len(loc))).logpdf(x)


def closed_elbo(model, x, q):
    """E_q[log p(x | z)] - KL(q || p) of a linear decoder, differentiable, from the formulas of the lecture notes."""
    base = model.decoder.network[0]
    unit = model.decoder.unit
    loc, loading = model.decoder.loc + unit * base.bias, unit[:, None] * base.weight
    variance = model.decoder.scale**2
    m = q.mean
    s = torch.diag_embed(q.variance) if isinstance(q, Independent) else q.covariance_matrix
    left = (x - loc - m @ loading.T).square().sum(-1) + torch.einsum("ij,njk,ik->n", loading, s, loading)
    d = x.shape[-1]
    fits = -0.5 * (left / variance + d * (2 * math.pi * variance).log())
    trace, log_det = s.diagonal(dim1=-2, dim2=-1).sum(-1), torch.logdet(s)
    return fits - 0.5 * (m.square().sum(-1) + trace - log_det - m.shape[-1])


def antithetic(q):
    """2 latent points with the mean and covariance of q, so that the mean of a quadratic over them is that over q."""
    tril = torch.diag_embed(q.stddev) if isinstance(q, Independent) else q.scale_tril
    columns = math.sqrt(tril.shape[-1]) * tril.mT.movedim(-2, 0)
    return torch.cat([q.mean + columns, q.mean - columns])


def small(kind="bernoulli", covariance="diag", activation="tanh"):
    """Small non-linear VAEs of each decoder, in float64, with a table that each can give."""
    rng = np.random.default_rng(5)
    decoder, x = {
        "gaussian": (GaussianDecoder(2, 6, (5,), variance_floor=0.01), rng.standard_normal((12, 6))),
        "shared": (GaussianDecoder(2, 6, (5,), variance="shared"), rng.standard_normal((12, 6))),
        "bernoulli": (BernoulliDecoder(2, 6, (5,)), PIXELS),
        "grey": (ContinuousBernoulliDecoder(2, 6, (5,)), rng.random((12, 6))),
        "categorical": (CategoricalDecoder(2, [2, 3, 4, 2, 3, 5], (5,)), rng.integers(0, 2, (12, 6)).astype(float)),
    }[kind]
    return VAE(MLPEncoder(6, 2, (5,), covariance, activation), decoder, 2).double(), x


KINDS = ["gaussian", "shared", "bernoulli", "grey", "categorical"]


class Noisy(nn.Module):
    """An encoder of the user's own with batch normalisation and dropout."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4))

    def forward(self, x):
        loc, log_scale = self.network(x).chunk(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)


class Heavy(nn.Module):
    """An encoder that is not Gaussian: KL has no closed form."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, x):
        return dist.Laplace(self.layer(x), 1.0).to_event(1)


def quadrature(model, x):
    """log p(x) of a model with one latent dimension, by the trapezoidal rule on 4001 points of z."""
    z = torch.linspace(-10, 10, 4001, dtype=torch.float64)
    with torch.no_grad():
        joint = model.decode(z[:, None, None].expand(-1, len(x), -1)).log_prob(torch.as_tensor(x))
    return torch.logsumexp(joint + Normal(0.0, 1.0).log_prob(z)[:, None], 0) + math.log(20 / 4000)
