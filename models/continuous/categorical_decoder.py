"""The decoder of columns of category codes."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution

from ..module import require_size
from .networks import Network, mlp


class CategoricalDecoder(Network):
    """x | z ~ Categorical(p(z)): columns of codes 0 .. levels - 1, independent given z.

    Args:
        latent: q, the number of latent dimensions.
        levels: The number of categories of each column.
        hidden: Sizes of the hidden layers; () makes the network linear in z.
        activation: "tanh", "relu", "silu" or "gelu".

    Raises:
        ValueError: A size is not a whole number of at least 1, or activation is another word.

    Example:
        >>> import torch
        >>> from lowerbound.models import CategoricalDecoder
        >>> p = CategoricalDecoder(latent=2, levels=[2, 3], hidden=(8,))(torch.zeros(4, 2))
        >>> p.log_prob(torch.tensor([[1.0, 2.0]] * 4)).shape
        torch.Size([4])
    """

    mask: Tensor

    def __init__(
        self, latent: int, levels: Sequence[int], hidden: Sequence[int] = (200, 200), activation: str = "tanh"
    ):
        super().__init__()
        require_size(latent=latent, features=len(levels), **{f"levels[{j}]": n for j, n in enumerate(levels)})
        levels = [int(n) for n in levels]
        self.latent, self.features, self.levels = latent, len(levels), tuple(levels)
        self.network = mlp((latent, *hidden), len(levels) * max(levels), activation)
        self.register_buffer("mask", torch.arange(max(levels)) < torch.tensor(levels).unsqueeze(-1), persistent=False)

    def forward(self, z: Float[Tensor, "*s q"]) -> Distribution:
        """p(x | z) of z (..., latent): batch shape (...), event shape (features,)."""
        numbers = self.network(z).unflatten(-1, self.mask.shape)
        logits = torch.where(self.mask, numbers, -torch.inf)
        return dist.Categorical(logits=logits, validate_args=False).to_event(1)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"]:
        """Which values are not below the number of levels of their column, (n, d)."""
        return x >= self.mask.sum(-1).to(x.device)
