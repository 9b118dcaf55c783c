"""Encoders: networks from a row x to a Gaussian q(z | x), the guide of a VAE."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from ...data.moments import Spread
from ..module import require_size
from ..random_state import fixed_seed
from .networks import ACTIVATIONS, FURTHEST, SEED, Network, mlp, positive, units

COVARIANCES = ("diag", "full")


class Encoder(Network):
    """x to q(z | x) = N(mean(x), S(x)), with S diagonal or full. Subclasses write `body`, the network.

    Rows are standardized by the mean and standard deviation of the data (`loc`, `unit`), and clipped at 10 standard
    deviations unless the network is linear.
    """

    loc: Tensor
    unit: Tensor

    def __init__(self, features: int, latent: int, covariance: str):
        super().__init__()
        require_size(features=features, latent=latent)
        if covariance not in COVARIANCES:
            raise ValueError(f"covariance is {covariance!r}, expected 'diag' or 'full'")
        self.features, self.latent, self.covariance = features, latent, covariance
        self.register_buffer("loc", torch.zeros(features))
        self.register_buffer("unit", torch.ones(features))

    @property
    def outputs(self) -> int:
        """How many numbers `body` returns: means, and standard deviations or a triangular matrix."""
        q = self.latent
        return 2 * q if self.covariance == "diag" else q + q * (q + 1) // 2

    def body(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n o"]:
        """The network, from standardized rows to `outputs` numbers."""
        raise NotImplementedError

    def set_units(self, data: Spread) -> None:
        """Measure from the mean of the data, in its standard deviations."""
        self.loc, self.unit = data.mean.to(self.loc), units(data).to(self.unit)

    def forward(self, x: Float[Tensor, "n d"]) -> Distribution:
        """q(z | x) of rows (n, d): batch shape (n,), event shape (latent,)."""
        y = ((x - self.loc) / self.unit).to(self.loc.dtype)  # rows may be of a model in another precision
        numbers = self.body(y if self.is_linear else y.clamp(-FURTHEST, FURTHEST))
        loc, rest = numbers[..., : self.latent], numbers[..., self.latent :]
        if self.covariance == "diag":
            return dist.Normal(loc, positive(rest), validate_args=False).to_event(1)
        tril = rest.new_zeros(*rest.shape[:-1], self.latent, self.latent)
        rows, columns = torch.tril_indices(self.latent, self.latent).unbind()
        tril[..., rows, columns] = torch.where(rows == columns, positive(rest), rest)
        return dist.MultivariateNormal(loc, scale_tril=tril, validate_args=False)


class MLPEncoder(Encoder):
    """q(z | x) = N(mean(x), S(x)) by fully connected layers: features - hidden - ... - latent.

    Args:
        features: d, the number of columns.
        latent: q, the number of latent dimensions.
        hidden: Sizes of the hidden layers; () makes a linear encoder.
        covariance: The covariance of q, "diag" (the dimensions of z are independent given x) or "full".
        activation: "tanh", "relu", "silu" or "gelu".

    Raises:
        ValueError: A size is not a whole number of at least 1, or a word is not one of those above.

    Example:
        >>> import torch
        >>> from lowerbound.models import MLPEncoder
        >>> q = MLPEncoder(features=4, latent=2, hidden=(8,), covariance="full")(torch.zeros(3, 4))
        >>> q.batch_shape, q.event_shape
        (torch.Size([3]), torch.Size([2]))

    Kingma & Welling, Auto-Encoding Variational Bayes, ICLR 2014.
    """

    def __init__(
        self,
        features: int,
        latent: int,
        hidden: Sequence[int] = (200, 200),
        covariance: str = "diag",
        activation: str = "tanh",
    ):
        super().__init__(features, latent, covariance)
        self.is_linear = not hidden
        self.network = mlp((features, *hidden), self.outputs, activation)

    def body(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n o"]:
        """The fully connected layers."""
        return self.network(x)


class ConvEncoder(Encoder):
    """q(z | x) = N(mean(x), S(x)) for small pictures: 3 x 3 convolutions in steps of 2, then one hidden layer.

    Each convolution halves height and width.

    Args:
        shape: (height, width) or (channels, height, width) of the picture in a row of channels * height * width
            columns.
        latent: q, the number of latent dimensions.
        channels: The channels of the convolutions in turn.
        hidden: The size of the layer after them.
        covariance: The covariance of q, "diag" (the dimensions of z are independent given x) or "full".
        activation: "tanh", "relu", "silu" or "gelu".

    Raises:
        ValueError: shape has another length, channels is empty, a size is not a whole number of at least 1, or a word
            is not one of those above.

    Example:
        >>> import torch
        >>> from lowerbound.models import ConvEncoder
        >>> ConvEncoder((8, 8), latent=2, channels=(4,), hidden=16)(torch.zeros(5, 64)).mean.shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        channels: Sequence[int] = (16, 32),
        hidden: int = 128,
        covariance: str = "diag",
        activation: str = "silu",
    ):
        if len(shape) not in (2, 3):
            raise ValueError(f"shape is {tuple(shape)}, expected (height, width) or (channels, height, width)")
        require_size(**{f"shape[{i}]": size for i, size in enumerate(shape)})
        require_size(hidden=hidden, **{f"channels[{i}]": size for i, size in enumerate(channels)})
        if not channels:
            raise ValueError("channels is empty, expected at least one convolution; without any, take MLPEncoder")
        super().__init__(math.prod(shape), latent, covariance)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}, expected one of {', '.join(map(repr, ACTIVATIONS))}")
        self.shape = (1, *shape) if len(shape) == 2 else tuple(shape)
        before, height, width = self.shape
        layers: list[nn.Module] = []
        with fixed_seed(SEED):
            for after in channels:
                layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), ACTIVATIONS[activation]()]
                before, height, width = after, -(-height // 2), -(-width // 2)
        last = mlp((before * height * width, hidden), self.outputs, activation)
        self.network = nn.Sequential(*layers, nn.Flatten(), *last)

    def body(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n o"]:
        """The convolutions, from rows as pictures."""
        return self.network(x.reshape(-1, *self.shape))
