"""Decoders of binary columns and of grey pixels in [0, 1].

Log densities are summed over the columns of a row, never averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from ...data.moments import Spread
from ..module import require_size
from .networks import Network, mlp

EVEN = 1e-2  # log odds below which the constant, then near log 2, comes from its Taylor series

RAREST = 1e-3  # starting probability of a pixel that is never on; 1 minus it for one that is always on


class BernoulliDecoder(Network):
    """x | z ~ Bernoulli(p(z)): columns of 0 and 1, independent given z.

    Grey pixels between 0 and 1 have no Bernoulli likelihood: draw 0 and 1 from them at each reading (`Binarized`),
    or take a `ContinuousBernoulliDecoder`.

    Args:
        latent: q, the number of latent dimensions.
        features: d, the number of columns.
        hidden: Sizes of the hidden layers; () makes the network linear in z.
        activation: "tanh", "relu", "silu" or "gelu".

    Raises:
        ValueError: A size is not a whole number of at least 1, or activation is another word.

    Example:
        >>> import torch
        >>> from lowerbound.models import BernoulliDecoder
        >>> p = BernoulliDecoder(latent=2, features=4, hidden=(8,))(torch.zeros(3, 2))
        >>> p.log_prob(torch.ones(3, 4)).shape
        torch.Size([3])
    """

    offset: Tensor

    def __init__(self, latent: int, features: int, hidden: Sequence[int] = (200, 200), activation: str = "tanh"):
        super().__init__()
        require_size(latent=latent, features=features)
        self.latent, self.features = latent, features
        self.network = mlp((latent, *hidden), features, activation)
        self.register_buffer("offset", torch.zeros(features))  # log odds where the network gives 0

    def set_units(self, data: Spread) -> None:
        """Start at the share of ones in each column."""
        self.offset = torch.logit(data.mean.clamp(RAREST, 1 - RAREST)).to(self.offset)

    def logits(self, z: Float[Tensor, "*s q"]) -> Float[Tensor, "*s d"]:
        """Log odds of each column, (..., d), of z (..., latent)."""
        return self.network(z) + self.offset

    def forward(self, z: Float[Tensor, "*s q"]) -> Distribution:
        """p(x | z) of z (..., latent): batch shape (...), event shape (features,)."""
        return dist.Bernoulli(logits=self.logits(z), validate_args=False).to_event(1)


class _ContinuousBernoulli(dist.ContinuousBernoulli):
    """Pyro's, with a normalizing constant that keeps its digits for all odds: C = l / tanh(l / 2), l the log odds."""

    def _cont_bern_log_norm(self) -> Tensor:
        size = self.logits.abs()
        small = size < EVEN
        safe = torch.where(small, EVEN, size)
        return torch.where(small, math.log(2) + size.square() / 12, (safe / torch.tanh(safe / 2)).log())


class ContinuousBernoulliDecoder(BernoulliDecoder):
    """x | z ~ ContinuousBernoulli(p(z)): columns in [0, 1], such as grey pixels, independent given z.

    The density is C(p) p^x (1 - p)^(1 - x). "Binary cross-entropy" of grey pixels leaves out the constant C(p), and so
    is not a likelihood.

    Args:
        latent: q, the number of latent dimensions.
        features: d, the number of columns.
        hidden: Sizes of the hidden layers; () makes the network linear in z.
        activation: "tanh", "relu", "silu" or "gelu".

    Raises:
        ValueError: A size is not a whole number of at least 1, or activation is another word.

    Example:
        >>> import torch
        >>> from lowerbound.models import ContinuousBernoulliDecoder
        >>> p = ContinuousBernoulliDecoder(latent=2, features=4, hidden=(8,))(torch.zeros(3, 2))
        >>> p.log_prob(torch.full((3, 4), 0.3)).shape
        torch.Size([3])

    Loaiza-Ganem & Cunningham, The continuous Bernoulli, NeurIPS 2019.
    """

    is_numeric = True

    def set_units(self, data: Spread) -> None:
        """Start at even odds: here the mean of a column is not its parameter."""

    def forward(self, z: Float[Tensor, "*s q"]) -> Distribution:
        """p(x | z) of z (..., latent): batch shape (...), event shape (features,)."""
        return _ContinuousBernoulli(logits=self.logits(z), validate_args=False).to_event(1)
