"""Several copies of a family side by side in one: how to make them, and which tensors belong to a copy."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from torch import Tensor

from .family import Family


def repeat(family: Family, copies: int) -> Family:
    """A new family that holds so many copies of this one, each with its own tensors. `shared` parameters get the copy
    on a new dim 0."""
    repeated = copy.deepcopy(family)
    set_copies(repeated, copies)
    for part in _families_inside(repeated):
        shared = [part.unconstrained(name) for name in part._pyro_params if name in part.shared]
        for tensor in _own_tensors_of(part):
            stacked = tensor.data.expand(copies, *tensor.shape)
            tensor.data = stacked.clone() if any(tensor is one for one in shared) else stacked.flatten(0, 1).clone()
    return repeated


def set_copies(family: Family, copies: int) -> None:
    """Set the number of copies in a family and in each family inside it."""
    for part in _families_inside(family):
        part.copies = copies


def own_tensors(family: Family) -> list[Tensor]:
    """The tensors that are stored once per copy: all parameters, and the buffers that are not `shared`."""
    return [tensor for part in _families_inside(family) for tensor in _own_tensors_of(part)]


def _families_inside(family: Family) -> Iterator[Family]:
    """The family and all inside it."""
    return (part for part in family.modules() if isinstance(part, Family))


def _own_tensors_of(part: Family) -> list[Tensor]:
    parameters = [part._parameters[f"{name}_unconstrained"] for name in part._pyro_params]
    return parameters + [tensor for name, tensor in part._buffers.items() if name not in part.shared]  # type: ignore
