"""The parameters of a model by the names that a user types, with their unconstrained tensors and Jacobians."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroModule
from torch import Tensor
from torch.distributions import transform_to

from ...models import LatentModel

REDUNDANT = 1e-8  # singular value of a Jacobian, its rows of length 1, below which a direction changes nothing


@dataclass(frozen=True)
class NamedParameter:
    """A parameter and its unconstrained tensor (the parameter itself where nothing constrains it)."""

    name: str
    unconstrained: Tensor
    constrain: Callable[[Tensor], Tensor]

    @property
    def value(self) -> Tensor:
        """The constrained value, differentiable in the unconstrained tensor."""
        return self.constrain(self.unconstrained)

    def jacobian(self, at: Tensor) -> Float[Tensor, "values coordinates"]:
        """d value / d unconstrained, both flattened, at an unconstrained tensor."""
        found = torch.autograd.functional.jacobian(self.constrain, at.detach())
        return torch.as_tensor(found).reshape(-1, at.numel())

    def generic_jacobian(self) -> Float[Tensor, "values coordinates"]:
        """The Jacobian at an arbitrary interior point, where it has its full rank and no accidental zeros."""
        at = torch.linspace(-0.5, 0.5, self.unconstrained.numel(), dtype=self.unconstrained.dtype)
        return self.jacobian(at.reshape(self.unconstrained.shape))

    def varying(self) -> tuple[Bool[Tensor, " values"], Bool[Tensor, " coordinates"]]:
        """Which values are not constant, and which coordinates change a value.

        Coordinates without effect are those above the diagonal of a triangular matrix, beyond the levels of a column,
        or of a simplex of one probability.
        """
        changes = self.generic_jacobian().abs() > 1e-14
        return changes.any(1), changes.any(0)


def parameters_of(model: LatentModel) -> list[NamedParameter]:
    """The parameters that are not frozen, in the order of `model.parameters()`."""
    found: dict[int, NamedParameter] = {}
    for path, module in model.named_modules():  # type: ignore[attr-defined]
        for name, (constraint, _) in module._pyro_params.items() if isinstance(module, PyroModule) else ():
            tensor = module.get_parameter(f"{name}_unconstrained")
            found[id(tensor)] = NamedParameter(f"{path}.{name}".lstrip("."), tensor, transform_to(constraint))
    plain = {id(p): NamedParameter(name, p, lambda u: u) for name, p in model.named_parameters()}  # type: ignore[attr-defined]
    return [found.get(id(p), plain[id(p)]) for p in model.parameters() if p.requires_grad]


def values_of(model: LatentModel, of: Mapping[str, Callable[[Any], Tensor]] | None) -> dict[str, Tensor]:
    """The parameters that are not frozen, and other functions of the model, by name."""
    found = {parameter.name: parameter.value for parameter in parameters_of(model)}
    for name, function in (of or {}).items():
        if name in found:
            raise ValueError(f"of has {name!r}, expected another name than that of a parameter")
        found[name] = torch.as_tensor(function(model))
    return found


def identified_directions(parameters: list[NamedParameter], held: Bool[Tensor, " p"]) -> Float[Tensor, "p r"]:
    """Orthonormal directions of the unconstrained space along which the model changes, none for coordinates `held`.

    A simplex of L probabilities is stored as L logarithms. Adding the same number to all of them changes nothing, so
    that this direction is left out. For each parameter the directions are the right singular vectors of its Jacobian,
    with rows scaled to length 1, so that units do not matter.
    """
    blocks = []
    for parameter, own in zip(parameters, held.split([p.unconstrained.numel() for p in parameters]), strict=True):
        values, coordinates = parameter.varying()
        coordinates = coordinates & ~own
        if len(values) == len(own):
            values = values & ~own
        at = parameter.unconstrained.detach()
        jacobian = parameter.jacobian(torch.where(torch.isfinite(at), at, -1e3))[values][:, coordinates]
        block = torch.zeros(len(own), min(jacobian.shape), dtype=torch.float64)
        sizes, block[coordinates] = _right_singular(jacobian)
        blocks.append(block[:, sizes > REDUNDANT])
    return torch.block_diag(*blocks)


def count_coordinates(parameters: list[NamedParameter]) -> int:
    """The number of independent coordinates of the parameters."""
    return sum(int((_right_singular(parameter.generic_jacobian())[0] > REDUNDANT).sum()) for parameter in parameters)


def _right_singular(jacobian: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values, and right singular vectors in columns, of a matrix with rows scaled to length 1."""
    length = jacobian.norm(dim=1, keepdim=True).clamp(min=1e-300)
    _, sizes, directions = torch.linalg.svd(jacobian / length, full_matrices=False)
    return sizes, directions.T
