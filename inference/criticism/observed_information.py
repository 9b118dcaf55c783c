"""The curvature of a log-likelihood at its top: what the rows know of each parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroModule
from torch import Tensor
from torch.distributions import transform_to

from ...data.threads import threads_for
from ...models import LatentModel, Rows
from ..engines.data_bound import EVALUATION_ROWS

REDUNDANT = 1e-8  # singular value of a Jacobian, its rows of length 1, below which a direction changes nothing


@dataclass(frozen=True)
class Parameter:
    """A parameter as a user types it, and the unconstrained tensor behind it (itself where nothing constrains it)."""

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

    def inside(self) -> Float[Tensor, "values coordinates"]:
        """The Jacobian at some point inside, where it has its full rank and no entry that vanishes by chance."""
        at = torch.linspace(-0.5, 0.5, self.unconstrained.numel(), dtype=self.unconstrained.dtype)
        return self.jacobian(at.reshape(self.unconstrained.shape))

    def moves(self) -> tuple[Bool[Tensor, " values"], Bool[Tensor, " coordinates"]]:
        """Which values are not constant, and which coordinates change some value: all but those above the diagonal of a
        triangular matrix, beyond the levels of a column, or of a simplex of one."""
        changes = self.inside().abs() > 1e-14
        return changes.any(1), changes.any(0)


def parameters_of(model: LatentModel) -> list[Parameter]:
    """The parameters that are not frozen, in the order of `model.parameters()`, under the names a user types."""
    found: dict[int, Parameter] = {}
    for path, module in model.named_modules():  # type: ignore[attr-defined]
        for name, (constraint, _) in module._pyro_params.items() if isinstance(module, PyroModule) else ():
            tensor = getattr(module, f"{name}_unconstrained")
            found[id(tensor)] = Parameter(f"{path}.{name}".lstrip("."), tensor, transform_to(constraint))
    plain = {id(p): Parameter(name, p, lambda u: u) for name, p in model.named_parameters()}  # type: ignore[attr-defined]
    return [found.get(id(p), plain[id(p)]) for p in model.parameters() if p.requires_grad]


def values_of(model: LatentModel, of: Mapping[str, Callable[[Any], Tensor]] | None) -> dict[str, Tensor]:
    """The parameters by name, and other functions of the model, which must have names of their own."""
    found = {parameter.name: parameter.value for parameter in parameters_of(model)}
    for name, function in (of or {}).items():
        if name in found:
            raise ValueError(f"of has {name!r}, expected another name than that of a parameter")
        found[name] = torch.as_tensor(function(model))
    return found


def slope_and_curvature(
    model: LatentModel, rows: Rows, parameters: list[Parameter]
) -> tuple[Float[Tensor, " p"], Float[Tensor, "p p"]]:
    """Gradient and Hessian of sum_i w_i objective_i + global term in the unconstrained coordinates, 0 where these are
    infinite (a probability of exactly 0): such a coordinate cannot move."""
    tensors = [parameter.unconstrained for parameter in parameters]
    finite = torch.cat([torch.isfinite(t.detach()).flatten() for t in tensors])
    gradient = torch.zeros(len(finite), dtype=torch.float64)
    hessian = torch.zeros(len(finite), len(finite), dtype=torch.float64)

    def derivative(value: Tensor, graph: bool) -> Tensor:
        parts = torch.autograd.grad(
            value, tensors, create_graph=graph, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return torch.cat([part.flatten() for part in parts])

    def add(value: Tensor) -> None:
        if not value.requires_grad:
            return
        slope = derivative(value, graph=True)
        gradient.add_(torch.where(finite, slope.detach(), 0.0))
        for i in finite.nonzero().flatten().tolist() if slope.requires_grad else ():
            hessian[i] += torch.where(finite, derivative(slope[i], graph=False).detach(), 0.0)

    with torch.enable_grad(), threads_for(min(len(rows), EVALUATION_ROWS) * rows.features):
        for chunk in rows.chunks(EVALUATION_ROWS):
            objective = model.objective(chunk.x, chunk.labels).double()
            add(objective.sum() if chunk.weights is None else objective @ chunk.weights)
        add(model.global_term())
    return gradient, (hessian + hessian.T) / 2


def independent(parameters: list[Parameter], held: Bool[Tensor, " p"]) -> Float[Tensor, "p r"]:
    """Orthonormal directions of the unconstrained space along which the model changes, none for coordinates `held`.

    A simplex of L probabilities is stored as L logarithms, which may all be raised by the same number: along such a
    direction every function of the model is constant, so that leaving it out leaves nothing out. For each parameter
    these are the right singular vectors of its Jacobian, whose rows are brought to one length: units must not matter.
    """
    blocks = []
    for parameter, own in zip(parameters, held.split([p.unconstrained.numel() for p in parameters]), strict=True):
        values, coordinates = parameter.moves()
        coordinates = coordinates & ~own
        if len(values) == len(own):
            values = values & ~own
        at = parameter.unconstrained.detach()
        jacobian = parameter.jacobian(torch.where(torch.isfinite(at), at, -1e3))[values][:, coordinates]
        block = torch.zeros(len(own), min(jacobian.shape), dtype=torch.float64)
        sizes, block[coordinates] = _right(jacobian)
        blocks.append(block[:, sizes > REDUNDANT])
    return torch.block_diag(*blocks)


def coordinates(parameters: list[Parameter]) -> int:
    """How many independent coordinates the parameters have."""
    return sum(int((_right(parameter.inside())[0] > REDUNDANT).sum()) for parameter in parameters)


def _right(jacobian: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values, and right singular vectors in columns, of a matrix whose rows are brought to one length."""
    length = jacobian.norm(dim=1, keepdim=True).clamp(min=1e-300)
    _, sizes, directions = torch.linalg.svd(jacobian / length, full_matrices=False)
    return sizes, directions.T
