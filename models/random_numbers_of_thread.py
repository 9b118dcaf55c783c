"""Random numbers of one thread: every random operation of torch in it draws from generators of its own.

The distributions of torch and Pyro draw from torch's one random state, and take no generator. A dispatch mode, which
belongs to one thread, sees all operations that draw, whoever calls them, and gives each the generator.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import cache
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode  # torch has no public name for it

_swap, _first = threading.Lock(), threading.Lock()


class OwnGenerators(TorchDispatchMode):
    """In the body of `with OwnGenerators():`, this thread draws from generators of its own, one for each device.

    A generator begins in the state of torch's, or in that of `like`. The same seed gives the numbers that torch's own
    would give.
    """

    def __init__(self, like: OwnGenerators | None = None):
        super().__init__()
        with _first:
            _find_operations()
        self._generators: dict[str, torch.Generator] = {}
        for device, generator in like._generators.items() if like else ():
            self.on(device).set_state(generator.get_state())

    def on(self, device: str) -> torch.Generator:
        """The generator of a device, such as "cpu" or "cuda:0"."""
        if device not in self._generators:
            self._generators[device] = torch.Generator(device)
            self._generators[device].set_state(torchs_generator(device).get_state())
        return self._generators[device]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the operation; if it draws, with the generator of its device."""
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        own = self.on(_device_of(args, kwargs))
        with_generator = _overload_with_generator(func)
        if with_generator is not None:
            return with_generator(*args, **{**kwargs, "generator": own})
        # such as the dropout of an attention layer: torch's generator stands in for a moment
        with _swap:
            torchs = torchs_generator(str(own.device))
            outside = torchs.get_state()
            torchs.set_state(own.get_state())
            try:
                return func(*args, **kwargs)
            finally:
                own.set_state(torchs.get_state())
                torchs.set_state(outside)


@cache
def _find_operations() -> None:
    """Make torch's Python objects of all its operations, which takes a fraction of a second once.

    torch makes each of them when a dispatch mode first sees it, and not safely: two threads that meet there make two,
    and torch keeps a pointer to the one that is thrown away, which crashes the process later.
    """
    for name in torch._C._dispatch_get_all_op_names():
        space, _, operation = name.partition("::")
        packet, _, overload = operation.partition(".")
        if space == "aten":
            with suppress(AttributeError):  # a few have no schema
                attrgetter(f"{packet}.{overload or 'default'}")(torch.ops.aten)


def torchs_generator(device: str) -> torch.Generator:
    """The generator of a device that torch itself draws from."""
    which = torch.device(device)
    return torch.default_generator if which.type == "cpu" else torch.cuda.default_generators[which.index]


@cache
def _overload_with_generator(func: Any) -> Any:
    """The overload of an operation with the same arguments and a generator; None if there is none."""
    same = _signature(func)
    packet = func.overloadpacket
    # by attribute: calling `__getattr__` would make the object anew, and torch keeps a pointer to the old one
    overloads = [func, *(attrgetter(name)(packet) for name in packet.overloads())]
    return next((o for o in overloads if _takes_generator(o) and _signature(o) == same), None)


def _takes_generator(func: Any) -> bool:
    return any(argument.name == "generator" for argument in func._schema.arguments)


def _signature(func: Any) -> list[tuple[str, str]]:
    return [(a.name, str(a.type)) for a in func._schema.arguments if a.name != "generator"]


def _device_of(args: Any, kwargs: Any) -> str:
    """Where an operation draws: the device that it is given, or that of its tensors."""
    device = kwargs.get("device") or next((a.device for a in args if isinstance(a, Tensor)), torch.device("cpu"))
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return str(device)
