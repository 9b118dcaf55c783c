"""Random numbers of one thread: every random operation of torch in it draws from generators of its own.

The distributions of torch and Pyro draw from torch's one random state, and take no generator. Here a dispatch key of
torch, which is switched on for one thread, has a kernel for each operation that draws, whoever calls it; the kernel
hands it the generator. Operations that do not draw never see the key, so that they take no longer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

KEY = "TESTING_ONLY_GenericMode"  # a dispatch key before all others that torch itself leaves unused
DEVICES = ("cpu", "cuda")  # on others torch's own generators draw
_swap = threading.Lock()


class _OfThread(threading.local):
    generators: OwnGenerators | None = None


_of_thread = _OfThread()


class OwnGenerators:
    """In the body of `with OwnGenerators():`, this thread draws from generators of its own, one for each device.

    A generator begins in the state that the thread would draw from outside of the body. The same seed gives the numbers
    that torch's own generator would give. What sets or reads torch's random state in the body, such as
    `torch.manual_seed` and `torch.random.fork_rng`, means the thread's own.
    """

    def __init__(self):
        _register_kernels()
        self._generators: dict[str, torch.Generator] = {}
        self._outside: OwnGenerators | None = None

    def __enter__(self) -> OwnGenerators:
        self._outside, _of_thread.generators = _of_thread.generators, self
        self._key = torch._C._IncludeDispatchKeyGuard(_key())
        self._key.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._key.__exit__(*error)
        _of_thread.generators = self._outside

    def on(self, device: str) -> torch.Generator:
        """The generator of a device, such as "cpu" or "cuda:0"."""
        if device not in self._generators:
            outside = torchs_generator(device) if self._outside is None else self._outside.on(device)
            self._generators[device] = torch.Generator(device)
            self._generators[device].set_state(outside.get_state())
        return self._generators[device]

    def manual_seed(self, seed: int) -> torch.Generator:
        """Seed the generators of all devices. Returns that of the CPU."""
        for generator in self._generators.values():
            generator.manual_seed(seed)
        return self.on("cpu").manual_seed(seed)


class _TorchsOrOwn:
    """Stands where `torch.random` has torch's generator, and is that of the thread in the body of `OwnGenerators`."""

    def __getattr__(self, name: str) -> Any:
        own = _of_thread.generators
        if own is not None and name == "manual_seed":
            return own.manual_seed
        return getattr(generator_of_thread("cpu"), name)


def torchs_generator(device: str) -> torch.Generator:
    """The generator of a device that torch itself draws from."""
    which = torch.device(device)
    return torch.default_generator if which.type == "cpu" else torch.cuda.default_generators[which.index]


def generator_of_thread(device: str) -> torch.Generator:
    """The generator of a device that this thread draws from."""
    own = _of_thread.generators
    return torchs_generator(device) if own is None else own.on(device)


def _key() -> Any:
    return torch._C._dispatch_key_parse(KEY)


_first = threading.Lock()
_libraries: list[Any] = []  # kernels last as long as these


def _register_kernels() -> None:
    """Register the kernels, which takes a fraction of a second once."""
    with _first:
        if _libraries:
            return
        everything = torch._C._dispatch_library("IMPL", "_", KEY, __file__, 0)
        everything.fallback_fallthrough()
        aten = torch._C._dispatch_library("IMPL", "aten", KEY, __file__, 0)
        for name in torch._C._dispatch_get_all_op_names():
            kernel = _kernel(name) if name.startswith("aten::") else None
            if kernel is not None:
                aten.impl(name.removeprefix("aten::"), KEY, kernel)
        torch.random.default_generator = _TorchsOrOwn()  # type: ignore[assignment]
        _libraries.extend((everything, aten))


def _kernel(name: str) -> Callable[..., Any] | None:
    """What stands for an operation, such as "aten::normal.Tensor_Tensor": the same with the thread's generator.

    None if it does not draw, or is composed of operations that do.
    """
    packet, _, overload = name.removeprefix("aten::").partition(".")
    try:
        func = attrgetter(f"{packet}.{overload or 'default'}")(torch.ops.aten)
    except AttributeError:  # a few have no schema
        return None
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return None
    with_generator = _overload_with_generator(func)
    if with_generator is None and torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd"):
        return None

    def draw(*args: Any, **kwargs: Any) -> Any:
        own, device = _of_thread.generators, _device_of(args, kwargs)
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(_key())):
            if own is None or device.type not in DEVICES or _given_generator(func, args, kwargs):
                return func(*args, **kwargs)
            generator = own.on(str(device))
            if with_generator is not None:
                return with_generator(*args, **kwargs, generator=generator)
            with _swap:  # such as the attention of a GPU: torch's generator stands in for a moment
                torchs = torchs_generator(str(device))
                outside = torchs.get_state()
                torchs.set_state(generator.get_state())
                try:
                    return func(*args, **kwargs)
                finally:
                    generator.set_state(torchs.get_state())
                    torchs.set_state(outside)

    return draw


def _given_generator(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether the caller gave a generator."""
    return isinstance(kwargs.get("generator"), torch.Generator) or any(isinstance(a, torch.Generator) for a in args)


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


def _device_of(args: Any, kwargs: Any) -> torch.device:
    """Where an operation draws: the device that it is given, or that of its tensors."""
    device = kwargs.get("device") or next((a.device for a in args if isinstance(a, Tensor)), torch.device("cpu"))
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return device
