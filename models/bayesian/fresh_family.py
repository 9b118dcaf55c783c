"""A new family like a given one."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from ..families.family import Family


def fresh_family(family: Family, **changes: Any) -> Family:
    """A family as its constructor made it, with some arguments changed: with parameters of its own that were never
    set."""
    positional, named = family.arguments
    bound = inspect.signature(type(family)).bind(*positional, **named)
    for name, value in changes.items():
        bound.arguments[name] = value
    if hasattr(family, "parts"):  # a family may not be in two products
        return type(family)(*(fresh_family(part) for part in family.parts), columns=family.columns)  # type: ignore
    return type(family)(*bound.args, **bound.kwargs)


def copy_buffers(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """What a family has learnt of the data beside its parameters: units, origins, a weak prior."""
    own = dict(target.named_buffers())
    for name, buffer in source.named_buffers():
        if name in own:
            own[name].data = buffer.clone()
