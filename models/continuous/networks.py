"""What encoders and decoders share: the base class `Network`, layers, units of the data, evaluation mode."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ...data.moments import Spread
from ..module import constructor_call, require_size
from ..old_names import HasOldNames
from ..random_state import fixed_seed
from .linear_gaussian import LinearGaussian

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}
FURTHEST = 10.0  # standard deviations from the mean, to which encoders clip their input
SEED = 0  # of the weights of a new network: always the same, so that a fit of one seed gives the same bits


_evaluating = threading.Lock()
_uses: dict[nn.Module, tuple[int, bool]] = {}  # of modules being evaluated: how many bodies, and the mode before


@runtime_checkable
class Resettable(Protocol):
    """A module that can draw new weights, as the layers of torch can."""

    def reset_parameters(self) -> None:
        """Draw new weights from torch's random state."""
        ...


class Network(HasOldNames, nn.Module):
    """Base class of encoders and decoders with optional methods that a VAE calls.

    Any torch.nn.Module can be an encoder or decoder. One that derives from `Network` also remembers its constructor's
    arguments, so that a saved model can be made again. As a decoder it is called with z of any leading dimensions. It
    may override `set_units`, `linear`, `outside` and `check`, whose defaults do nothing. Restarts draw new weights with
    the method `reset_parameters` of every layer that has one.

    Attributes:
        arguments: positional and named arguments of the constructor.
        is_linear: whether its means are linear in its input.

    Example:
        A decoder that measures in the standard deviations of the data:

        >>> import pyro.distributions as dist, torch
        >>> from lowerbound.models import VAE, MLPEncoder, Network
        >>> class Laplace(Network):
        ...     def __init__(self, latent, features):
        ...         super().__init__()
        ...         self.layer = torch.nn.Linear(latent, features)
        ...         self.register_buffer("unit", torch.ones(features))
        ...     def set_units(self, data):
        ...         self.unit = data.variance.sqrt().to(self.unit)
        ...     def forward(self, z):
        ...         return dist.Laplace(self.unit * self.layer(z), self.unit).to_event(1)
        >>> VAE(MLPEncoder(4, 2), Laplace(2, 4), latent=2)
        VAE(MLPEncoder(4, 2), Laplace(2, 4), latent=2)
    """

    arguments: tuple[tuple, dict[str, Any]]
    is_linear = False
    is_numeric = False  # whether a decoder gives numbers, of which the codes of categories are none
    old_names: ClassVar[Mapping[str, str]] = {"anchor": "set_units"}

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        vars(self)["arguments"] = (args, kwargs)
        return self

    def __repr__(self) -> str:
        return constructor_call(self)

    def set_units(self, data: Spread) -> None:
        """Learn the units of the data before a fit, so that steps of Adam do not depend on them. By default: nothing.

        Args:
            data: `mean` and `variance` of each column, (d,).
        """

    def linear(self) -> LinearGaussian | None:
        """The linear-Gaussian model that a decoder stands for; None if it is not linear and Gaussian."""
        return None

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Which values a decoder cannot give, beyond those outside the support of its distribution.

        Args:
            x: rows (n, d).

        Returns:
            (n, d) True where a value cannot be given; None if there are no further restrictions.
        """
        return None

    def check(self) -> None:
        """Raise `Collapse` if a decoder has run into a singularity of the likelihood. By default: never."""


def mlp(sizes: Sequence[int], outputs: int, activation: str) -> nn.Sequential:
    """Fully connected layers of these sizes, the first is the input, with an activation between them."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}, expected one of {', '.join(map(repr, ACTIVATIONS))}")
    require_size(outputs=outputs, input=sizes[0], **{f"hidden[{i}]": size for i, size in enumerate(sizes[1:])})
    layers: list[nn.Module] = []
    with fixed_seed(SEED):
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
        layers.append(nn.Linear(sizes[-1], outputs))
    return nn.Sequential(*layers)


def units(data: Spread, floor: float = 0.0) -> Tensor:
    """The standard deviation of each column in float32, at least `floor`; an average one for constant columns."""
    deviation = data.variance.sqrt()
    average = deviation.square().mean().sqrt()
    deviation = torch.where(deviation > 1e-12 * (data.mean.abs() + average), deviation, average)
    return deviation.clamp(min=floor or torch.finfo(torch.float32).tiny).float()


@contextmanager
def evaluation_mode(module: Any) -> Iterator[None]:
    """In the body the module is in evaluation mode: no dropout, fixed batch statistics. Other threads may evaluate it,
    too: the last one to end restores the mode."""
    parts = list(module.modules())
    with _evaluating:
        for part in parts:
            uses, training = _uses.get(part, (0, part.training))
            _uses[part] = uses + 1, training
            if part.training:
                part.training = False
    try:
        yield
    finally:
        with _evaluating:
            for part in parts:
                uses, training = _uses.pop(part)
                if uses > 1:
                    _uses[part] = uses - 1, training
                elif training:
                    part.training = True


def positive(x: Tensor) -> Tensor:
    """Real numbers to positive ones, 0 to 1: softplus, which grows no faster than x.

    Never below the root of the smallest number, so that squares and logarithms of standard deviations stay finite.
    """
    return nn.functional.softplus(x + math.log(math.e - 1)).clamp(min=torch.finfo(x.dtype).tiny ** 0.5)


def positive_inverse(x: Tensor) -> Tensor:
    """The inverse of `positive`."""
    return x + torch.log(-torch.expm1(-x)) - math.log(math.e - 1)
