"""Draws of a continuous latent variable from its posterior, and the terms of the bound that they give."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal


@dataclass(frozen=True)
class Draws:
    """Draws of z from q(z | x) for each row, with log p(x | z); gradients pass through the draws (reparameterization).

    Attributes:
        q: The distribution drawn from: batch (n,), event (latent,).
        z: The draws, (s, n, latent).
        log_likelihood: log p(x | z) of each draw, (s, n), in nats.

    Example:
        >>> import torch
        >>> from lowerbound.models import linear_vae
        >>> draws = linear_vae(4, 2).draws(torch.ones(3, 4), samples=5)
        >>> draws.z.shape, draws.log_weights().shape, draws.elbo().shape
        (torch.Size([5, 3, 2]), torch.Size([5, 3]), torch.Size([3]))
    """

    q: Distribution
    z: Float[Tensor, "s n q"]
    log_likelihood: Float[Tensor, "s n"]

    def log_weights(self) -> Float[Tensor, "s n"]:
        """log p(x, z) - log q(z | x) of each draw, (s, n), in nats.

        Their mean is the ELBO; the mean of their exponentials is p(x).
        """
        prior = Normal(self.z.new_zeros(()), self.z.new_ones(()), validate_args=False)
        return self.log_likelihood + prior.log_prob(self.z).sum(-1) - self.q.log_prob(self.z)

    def divergence(self) -> Float[Tensor, "n _"] | None:
        """KL(q(z | x) || N(0, I)) of each row in closed form, in nats.

        Returns:
            (n, latent) if the dimensions of z are independent under q; (n, 1) for a full covariance; None if q is not
            Gaussian.
        """
        return kl_to_prior(self.q)

    def elbo(self) -> Float[Tensor, " n"]:
        """The evidence lower bound of each row, (n,) in nats: E_q[log p(x | z)] - KL(q || p(z)).

        The expectation is the mean over the draws. The KL is in closed form for a Gaussian q, else a mean over the
        draws, too.
        """
        closed = self.divergence()
        if closed is None:
            return self.log_weights().mean(0)
        return self.log_likelihood.mean(0) - closed.sum(-1)


def kl_to_prior(q: Distribution) -> Float[Tensor, "n _"] | None:
    """KL(q || N(0, I)) = (|m|^2 + tr S - log |S| - d) / 2 of a Gaussian q; shapes as in `Draws.divergence`."""
    if isinstance(q, Independent) and isinstance(q.base_dist, Normal) and q.reinterpreted_batch_ndims == 1:
        loc, scale = q.base_dist.loc, q.base_dist.scale
        return 0.5 * (loc.square() + scale.square() - 1) - scale.log()
    if isinstance(q, MultivariateNormal):
        tril = q.scale_tril
        trace, log_root = tril.square().sum((-2, -1)), tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (0.5 * (q.loc.square().sum(-1) + trace - tril.shape[-1]) - log_root).unsqueeze(-1)
    return None


def gaussian_draws(q: Distribution, noise: Float[Tensor, "s n q"]) -> Float[Tensor, "s n q"] | None:
    """Draws mean + S^(1/2) noise of a Gaussian q from standard normal noise; None if q is not Gaussian."""
    if isinstance(q, Independent) and isinstance(q.base_dist, Normal) and q.reinterpreted_batch_ndims == 1:
        return q.base_dist.loc + q.base_dist.scale * noise
    if isinstance(q, MultivariateNormal):
        return q.loc + (q.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
    return None
