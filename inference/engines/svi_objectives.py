"""What SVI may climb besides Pyro's own estimators of the ELBO, for a continuous latent variable: plain functions."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...models import Draws


def analytic(
    draws: Draws, weights: Float[Tensor, " n"], divergence_weight: float = 1.0, free_bits: float = 0.0
) -> Float[Tensor, ""]:
    """Sum over rows of weight times E_q[log p(x | z)], by the draws, minus `divergence_weight` times KL(q || p(z)) in
    closed form.

    divergence_weight: rises from 0 to 1 in a warm-up (Bowman et al., CoNLL 2016). free_bits: nats of each latent
    dimension below which its KL, in the mean over the rows, costs no more (Kingma et al., NeurIPS 2016): a dimension
    is then not given up early. With either it is not the ELBO that is climbed; what a fit reports is. Raises TypeError
    where q is not Gaussian.
    """
    divergence = draws.divergence()
    if divergence is None:
        raise TypeError(
            f"q(z | x) is a {type(draws.q).__name__}, whose KL to the prior has no closed form here, expected a "
            'Gaussian: take elbo="sampled"'
        )
    free = free_bits * draws.z.shape[-1] / divergence.shape[1]  # where it is known as a whole, for all dimensions
    of_dimensions = (weights @ divergence).clamp(min=free * weights.sum())
    return weights @ draws.log_likelihood.mean(0) - divergence_weight * of_dimensions.sum()


def importance(draws: Draws, weights: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Sum over rows of weight times log((1 / s) sum_s p(x, z_s) / q(z_s | x)): with one draw the ELBO, with more of
    them a higher bound of log p(x) (IWAE; Burda, Grosse & Salakhutdinov, ICLR 2016)."""
    log_weights = draws.log_weights()
    return weights @ (torch.logsumexp(log_weights, 0) - math.log(len(log_weights)))
