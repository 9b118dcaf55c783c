"""Several values of theta at once: those that Pyro draws inside of plates around a program, such as its particles.

A plate around the program, at dim -2 or further left, gives each site of theta its dimensions in front, with a 1 where
the plate of rows is. Each point of these plates is a mixture of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor

from ..families.missing_values import log_prob_of_rows
from .parameter_sites import Theta, View


def split_plates(theta: Theta, supports: Mapping[str, tuple[Any, torch.Size]]) -> tuple[list[Theta], torch.Size]:
    """theta at each point of the plates around, and their sizes; (theta,) and no sizes without plates.

    supports: the constraint and the shape of each site.
    """
    lead = [theta[name].shape[: theta[name].ndim - len(shape)] for name, (_, shape) in supports.items()]
    plates = torch.broadcast_shapes(*lead)
    if not plates:
        return [theta], plates
    flat = {name: theta[name].expand(*plates, *shape).reshape(-1, *shape) for name, (_, shape) in supports.items()}
    each = [{name: value[i] for name, value in flat.items()} for i in range(plates.numel())]
    return each, plates if plates.numel() > 1 else torch.Size()


def log_joint(views: list[View], plates: torch.Size, x: Float[Tensor, "n d"]) -> Float[Tensor, "*plates n k"]:
    """log weights + log p(x | z = k) in nats at each point of the plates."""
    joint = torch.stack([log_prob_of_rows(family, x) + log_weights for family, log_weights in views])
    return joint.reshape(*plates[:-1], *joint.shape[1:])


class ComponentsInPlates(TorchDistribution):
    """p(observed values of a row | z), by another mixture at each point of the plates."""

    arg_constraints = {}  # type: ignore[reportIncompatibleMethodOverride,reportAssignmentType]  # noqa: RUF012

    def __init__(self, views: list[View], plates: torch.Size, z: Tensor):
        self.views, self.plates, self.z = views, plates, z
        features = views[0][0].features
        super().__init__(torch.broadcast_shapes(z.shape, plates), torch.Size([features]), validate_args=False)

    @property
    def support(self) -> Any:  # type: ignore[override]
        """The support of complete rows."""
        component: Any = self.views[0][0].component(self.z)
        return component.support

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of the observed values of rows (n, d) under z (..., n)."""
        density = log_joint([(family, torch.zeros_like(weights)) for family, weights in self.views], self.plates, value)
        shape = torch.broadcast_shapes(self.batch_shape, density.shape[:-1])
        z = self.z.expand(shape).unsqueeze(-1)
        return density.expand(*shape, -1).gather(-1, z).squeeze(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 (torch's signature)
        """Complete rows."""
        z = self.z.expand(self.batch_shape)
        points = z.reshape(*z.shape[: z.ndim - len(self.plates)], len(self.views), -1)
        each: list[Any] = [family.component(points[..., s, :]) for s, (family, _) in enumerate(self.views)]
        drawn = torch.stack([one.sample(sample_shape) for one in each], -3)
        return drawn.reshape(*torch.Size(sample_shape), *z.shape, -1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ComponentsInPlates:
        """The same for more z."""
        return ComponentsInPlates(self.views, self.plates, self.z.expand(batch_shape))
