"""Objectives of SVI for a continuous latent variable, beside Pyro's own estimators of the ELBO."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...models import Draws


def analytic(
    draws: Draws, weights: Float[Tensor, " n"], divergence_weight: float = 1.0, free_bits: float = 0.0
) -> Float[Tensor, ""]:
    """sum_i w_i (E_q[log p(x_i | z)] - divergence_weight * KL(q(z | x_i) || p(z))): the KL in closed form.

    Args:
        draws: The draws of z, over which log p(x | z) is averaged.
        weights: (n,) row weights.
        divergence_weight: Rises from 0 to 1 during a warm-up (Bowman et al., CoNLL 2016).
        free_bits: Nats. The mean KL over the rows of each latent dimension counts as at least this much, so that a
            dimension is not given up early (Kingma et al., NeurIPS 2016).

    Returns:
        A scalar in nats. With a warm-up or free bits it is not the ELBO; the bounds of a fit always are.

    Raises:
        TypeError: q is not Gaussian.
    """
    divergence = draws.divergence()
    if divergence is None:
        raise TypeError(
            f"q(z | x) is a {type(draws.q).__name__}, whose KL to the prior has no closed form here, expected a "
            'Gaussian: take elbo="sampled"'
        )
    free = free_bits * draws.z.shape[-1] / divergence.shape[1]  # some q know only the sum over all dimensions
    own = weights.to(divergence)  # encoder and decoder may differ in precision
    per_dimension = (own @ divergence).clamp(min=free * own.sum())
    log_likelihood = draws.log_likelihood.mean(0)
    return weights.to(log_likelihood) @ log_likelihood - divergence_weight * per_dimension.sum()


def importance(draws: Draws, weights: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """sum_i w_i log((1 / s) sum_s p(x_i, z_s) / q(z_s | x_i)), a scalar in nats.

    One draw gives the ELBO; more draws give a tighter bound of log p(x) (IWAE; Burda, Grosse & Salakhutdinov, ICLR
    2016).
    """
    log_weights = draws.log_weights()
    return weights.to(log_weights) @ (torch.logsumexp(log_weights, 0) - math.log(len(log_weights)))
