"""Make a model again from its description in a file, which may be damaged or made to do harm.

Only classes that `describe` writes are called: models, families, networks and priors of this package, and distributions
of Pyro. How much they make is limited by the tensors of the file (`room`): of a small file some megabytes.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro.infer import autoguide
from torch.overrides import TorchFunctionMode

from ... import models
from ...models.module import Recorded
from .describe_calls import UnknownClass

KINDS = (Recorded, models.Network, models.NormalInverseWishart, models.PosteriorDraws)
CLASSES = {
    name: kind
    for name, kind in vars(models).items()
    if name in models.__all__ and isinstance(kind, type) and issubclass(kind, KINDS)
}
SIZES = {"components", "features", "latent", "levels", "hidden", "chains", "draws"}  # arguments that are sizes
LEAST_ROOM, ROOM_FOR_EACH = 1_000_000, 100  # what constructors may make, in numbers; they make up to 80 for each
MOST_FOR_TIED = 100_000_000


def rebuild(description: Any, stored: int) -> Any:
    """The object of a description.

    stored: how many numbers the file holds, which limits what is made. Raises `UnknownClass` for a class of the user's
    own, and errors of many kinds for a description that `describe` did not write.
    """
    with _Room(room(stored)):
        return _rebuilt(description, stored)


def room(stored: int) -> int:
    """How many numbers may be made of a file that holds so many.

    A tied covariance is expanded to all components, which no file holds: its k d^2 numbers, of d^2 + k d in the file,
    are at most stored^1.5, and constructors make less than four times as many.
    """
    return LEAST_ROOM + ROOM_FOR_EACH * stored + min(MOST_FOR_TIED, 4 * int(stored**1.5))


def _rebuilt(description: Any, stored: int) -> Any:
    if isinstance(description, list):
        return [_rebuilt(part, stored) for part in description]
    if not isinstance(description, dict):
        return description
    if "mapping" in description:
        return _all_rebuilt(description["mapping"], stored)
    if "guide" in description:
        return _class_of(autoguide, description["guide"], autoguide.AutoGuide)
    if "tensor" in description:
        dtype = vars(torch)[description["dtype"]]
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"{description['dtype']!r} is no type of numbers")
        return torch.tensor(description["tensor"], dtype=dtype)
    if "distribution" in description:
        kind = _class_of(dist, description["distribution"], torch.distributions.Distribution)
        settings = description.get("settings")
        if settings is None:
            return kind
        if not settings.keys() <= kind.arg_constraints.keys():
            raise ValueError(f"{kind.__name__} has no parameters {', '.join(settings)}")
        return kind(**_all_rebuilt(settings, stored))
    if description["class"] not in CLASSES:
        raise UnknownClass(
            f"the fit is of a {description['class']}, which lowerbound does not have: load(path, into=model) with a "
            "model of that kind"
        )
    kind = CLASSES[description["class"]]
    positional, named = _rebuilt(description["positional"], stored), _all_rebuilt(description["named"], stored)
    _require_sizes(kind, positional, named, stored)
    return kind(*positional, **named)


def _all_rebuilt(descriptions: Mapping[str, Any], stored: int) -> dict[str, Any]:
    return {name: _rebuilt(part, stored) for name, part in descriptions.items()}


def _class_of(module: Any, name: str, base: type) -> Any:
    """The class of this name in a module. Raises ValueError unless it derives from `base`."""
    kind = vars(module)[name] if isinstance(name, str) and name in vars(module) else None
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ValueError(f"{name!r} is no {base.__name__}")
    return kind


def _require_sizes(kind: type, positional: list, named: dict[str, Any], stored: int) -> None:
    """Raise ValueError for an argument that is a size and more than all numbers in the file."""
    # of a network, whose __new__ takes anything, the signature of __init__
    arguments = inspect.signature(kind.__init__).bind(None, *positional, **named).arguments
    for name in arguments.keys() & SIZES:
        value = arguments[name]
        for size in value if isinstance(value, list) else [value]:
            if isinstance(size, int) and size > stored:
                raise ValueError(f"{kind.__name__} has {name}={size!r}, but the file holds {stored} numbers")


class _Room(TorchFunctionMode):
    """In the body, raise ValueError before torch makes more than this many numbers in all."""

    def __init__(self, numbers: int):
        super().__init__()
        self.left = numbers

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        asked = _asked(func, args, kwargs)
        self._take(asked)
        made = func(*args, **kwargs)
        if not asked and isinstance(made, torch.Tensor) and not made._is_view():
            self._take(made.numel())
        return made

    def _take(self, numbers: int) -> None:
        self.left -= numbers
        if self.left < 0:
            raise ValueError("its model is much larger than the numbers in the file")


def _asked(func: Callable, args: tuple, kwargs: dict) -> int:
    """How many numbers a function of torch makes from sizes; 0 for other functions."""
    name = func.__name__ if inspect.isroutine(func) else ""
    values = [value for value in (*args, *kwargs.values()) if not isinstance(value, torch.Tensor)]
    if name in ("eye", "diag_embed"):
        side = values[0] if name == "eye" else args[0].numel()
        return side * (args[0].shape[-1] if name == "diag_embed" else side)
    if name.removeprefix("new_") in ("zeros", "ones", "full", "empty", "rand", "randn"):
        shape = next((value for value in values if isinstance(value, tuple | list)), values)
        return math.prod(size for size in shape if isinstance(size, int))
    return 0
