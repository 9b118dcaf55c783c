"""Random states: run code from a seed, and leave the random state of others alone.

torch has one random state for all threads. A seeded call draws from generators of its own (`random_numbers_of_thread`),
in the main thread and in any other, so that calls in several threads neither change nor meet each other's numbers, and
nobody's draws move theirs. The numbers of a seed are those that torch would give after `torch.manual_seed`. A call
without a seed (`seed=None`) draws from torch's random state, which all threads share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ..data.seeds import require_seed
from .random_numbers_of_thread import OwnGenerators, generator_of_thread


def gpus(model: Any) -> list[int]:
    """The indices of the GPUs that hold parameters of the model."""
    return sorted({p.device.index for p in model.parameters() if p.is_cuda})


def reseed(seed: int, devices: Iterable[int] = ()) -> None:
    """Seed the random states of the CPU and of these GPUs. (`torch.manual_seed` would seed all GPUs.)"""
    for name in ("cpu", *(f"cuda:{device}" for device in devices)):
        generator_of_thread(name).manual_seed(seed)


def random_states(devices: Iterable[int] = ()) -> dict[str, Tensor]:
    """The random states of the CPU, as "torch", and of these GPUs, as "cuda:0" and so on."""
    names = {"torch": "cpu"} | {f"cuda:{device}": f"cuda:{device}" for device in devices}
    return {name: generator_of_thread(device).get_state() for name, device in names.items()}


def set_random_states(states: dict[str, Tensor]) -> None:
    """Set what `random_states` returned."""
    for name, state in states.items():
        generator_of_thread("cpu" if name == "torch" else name).set_state(state)


@contextmanager
def random_state_kept(devices: Iterable[int] = ()) -> Iterator[None]:
    """After the body the random states of the CPU and of these GPUs are as they were before."""
    with OwnGenerators() as own:
        for device in devices:
            own.on(f"cuda:{device}")
        yield


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
