"""Random states: run code from a seed, and leave the random state of others alone.

torch has one random state for all threads. In the main thread a seeded call sets it and restores it afterwards. In any
other thread a seeded call draws from generators of its own (`random_numbers_of_thread`), so that calls in several
threads neither change nor meet each other's numbers. The numbers of a seed are the same in both.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..data.seeds import require_seed
from .random_numbers_of_thread import OwnGenerators, torchs_generator


class _OfThread(threading.local):
    generators: OwnGenerators | None = None


_of_thread = _OfThread()


def gpus(model: Any) -> list[int]:
    """The indices of the GPUs that hold parameters of the model."""
    return sorted({p.device.index for p in model.parameters() if p.is_cuda})


def reseed(seed: int, devices: Iterable[int] = ()) -> None:
    """Seed the random states of the CPU and of these GPUs. (`torch.manual_seed` would seed all GPUs.)"""
    for name in ("cpu", *(f"cuda:{device}" for device in devices)):
        _generator(name).manual_seed(seed)


def random_states(devices: Iterable[int] = ()) -> dict[str, Tensor]:
    """The random states of the CPU, as "torch", and of these GPUs, as "cuda:0" and so on."""
    names = {"torch": "cpu"} | {f"cuda:{device}": f"cuda:{device}" for device in devices}
    return {name: _generator(device).get_state() for name, device in names.items()}


def set_random_states(states: dict[str, Tensor]) -> None:
    """Set what `random_states` returned."""
    for name, state in states.items():
        _generator("cpu" if name == "torch" else name).set_state(state)


@contextmanager
def random_state_kept(devices: Iterable[int] = ()) -> Iterator[None]:
    """After the body the random states of the CPU and of these GPUs are as they were before."""
    if threading.current_thread() is threading.main_thread():
        with torch.random.fork_rng(devices=list(devices)):
            yield
        return
    outside = _of_thread.generators
    _of_thread.generators = OwnGenerators(outside)
    try:
        with _of_thread.generators:
            yield
    finally:
        _of_thread.generators = outside


@contextmanager
def fixed_seed(seed: int | None, devices: Iterable[int] = ()) -> Iterator[None]:
    """Run the body from this seed, and restore the random state afterwards. None leaves the random state alone."""
    if seed is None:
        yield
        return
    seed, devices = require_seed(seed), list(devices)
    with random_state_kept(devices):
        reseed(seed, devices)
        yield


def _generator(device: str) -> torch.Generator:
    """The generator that this thread draws from on a device."""
    own = _of_thread.generators
    return torchs_generator(device) if own is None else own.on(device)
