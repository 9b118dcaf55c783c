"""A new family with the constructor arguments of a given one."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from ..families.family import Family
from ..families.product import Product


def fresh_family(family: Family, **changes: Any) -> Family:
    """A new family as the constructor made this one, with some arguments changed. Its parameters are not set."""
    if isinstance(family, Product):  # its parts are copied, too: one family must not be part of two products
        return type(family)(*map(fresh_family, family.parts), columns=family.columns)  # type: ignore[reportArgumentType]
    positional, named = family.arguments
    bound = inspect.signature(type(family)).bind(*positional, **named)
    bound.arguments |= changes
    return type(family)(*bound.args, **bound.kwargs)


def copy_buffers(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Copy what a family learnt of the data other than its parameters: units, origins, a weak prior."""
    own = dict(target.named_buffers())
    for name, buffer in source.named_buffers():
        if name in own:
            own[name].data = buffer.clone()
