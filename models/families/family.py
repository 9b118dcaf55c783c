"""Family: k distributions of one parametric kind, the one class that users extend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ..precision import KeepsFloat64
from .count_free_parameters import free_numbers
from .hooks.description import Description, Profile
from .hooks.start import Start
from .renamed_hooks import HOOKS, adopt_abilities

__all__ = ["Family", "Profile"]


class Family(KeepsFloat64, Start, Description):
    """p(x | z = k, theta[k]) for k = 0 .. K - 1: its density, its sufficient statistics, its M-step.

    A new family writes three methods: `component`, `statistics` and `match`. Everything else has a default. The hooks
    are grouped: `Density`, `EStep`, `MStep`, `Start`, `Description`. What a family can do beyond them is on its class
    line, by the abilities `TakesMissing`, `SideBySide`, `AllowsFrozen`, `HasExpectedLogProb` and `Conjugate`.

    Parameters are `PyroParam`s in float64, which `.float()` leaves as they are, with the component on dim 0, except
    those named in `shared`, which all components share. The weights of the components belong to the mixture.

    Example:
        >>> import torch
        >>> import pyro.distributions as dist
        >>> from pyro.nn import PyroParam
        >>> from torch.distributions import constraints
        >>> from lowerbound.models import Family
        >>> class Geometric(Family):
        ...     def __init__(self, components, features):
        ...         super().__init__()
        ...         start = torch.full((components, features), 0.5, dtype=torch.float64)
        ...         self.probs = PyroParam(start, constraints.unit_interval)
        ...     def component(self, z=...):
        ...         return dist.Geometric(self.probs[z]).to_event(1)
        ...     def statistics(self, x):
        ...         return x
        ...     def match(self, mean):
        ...         self.probs = 1 / (1 + mean)
        >>> family = Geometric(1, 1)
        >>> family.match(torch.tensor([[3.0]]))
        >>> round(family.probs.item(), 6)
        0.25
    """

    old_names: ClassVar[Mapping[str, str]] = HOOKS

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        adopt_abilities(cls, Family)

    def permute(self, order: Tensor) -> None:
        """Relabel the components in place: component j becomes the former component order[j]."""
        own = [self.unconstrained(name) for name in self._pyro_params if name not in self.shared]
        for tensor in [*own, *(b for name, b in self.named_buffers(recurse=False) if name not in self.shared)]:
            tensor.data = tensor.data[order]
        for part in self.children():
            if isinstance(part, Family):
                part.permute(order)

    def free_parameters(self) -> int:
        """The number of free parameters, as BIC counts them. Frozen parameters do not count."""
        return sum(
            free_numbers(constraint, module.unconstrained(name))
            for module in self.recorded()
            for name, (constraint, _) in module._pyro_params.items()
            if not module.is_frozen(name)
        )
