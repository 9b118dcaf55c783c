"""What the ready-made encoders and decoders share: networks that remember how they were made and what they measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ...data.moments import Spread
from ..module import constructor_call, require_size
from ..random_state import fixed_seed
from .linear_gaussian import LinearGaussian

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}
FURTHEST = 10.0  # standard deviations: a value further out says no more to an encoder than that it is far out
SEED = 0  # of a new network's weights: the same ones each time, so that a fit of one seed gives the same bits


class Network(nn.Module):
    """A part of a VAE that remembers its constructor's arguments, so that a saved model can be built anew, takes z with
    any leading dimensions, and may answer more of what the model asks. The ready-made parts are of this kind; any
    other torch.nn.Module will do."""

    arguments: tuple[tuple, dict[str, Any]]

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        vars(self)["arguments"] = (args, kwargs)
        return self

    def __repr__(self) -> str:
        return constructor_call(self)

    # what a model asks of its parts, and what they answer if they have nothing to say

    def set_units(self, data: Spread) -> None:
        """Measure from the mean of the data in its standard deviations, so that nothing depends on its units."""

    def linear(self) -> LinearGaussian | None:
        """Of a decoder: the linear-Gaussian model that it stands for, where it is one."""
        return None

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Of a decoder: the cells that it cannot give, beyond those outside the support of its distribution."""
        return None

    def check(self) -> None:
        """Of a decoder: raise `Collapse` if it has run into a singularity of the likelihood."""


def mlp(sizes: Sequence[int], outputs: int, activation: str) -> nn.Sequential:
    """Linear layers of these sizes, first the input, an activation after each but the last, which has `outputs`."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}, expected one of {', '.join(map(repr, ACTIVATIONS))}")
    require_size(outputs=outputs, **{f"size {i}": size for i, size in enumerate(sizes)})
    layers: list[nn.Module] = []
    with fixed_seed(SEED):
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
        layers.append(nn.Linear(sizes[-1], outputs))
    return nn.Sequential(*layers)


def units(data: Spread, floor: float = 0.0) -> Tensor:
    """The standard deviation of each column in float32, at least `floor`; where it is 0, that of an average column."""
    deviation = data.variance.sqrt()
    average = deviation.square().mean().sqrt()
    deviation = torch.where(deviation > 1e-12 * (data.mean.abs() + average), deviation, average)
    return deviation.clamp(min=floor or torch.finfo(torch.float32).tiny).float()
