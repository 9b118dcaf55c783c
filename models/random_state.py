"""Random states: run something from a seed, and leave no trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


def gpus(model: Any) -> list[int]:
    """The numbers of the GPUs that hold parameters of the model."""
    return sorted({p.device.index for p in model.parameters() if p.is_cuda})


def reseed(seed: int, devices: Iterable[int] = ()) -> None:
    """Seed the processor's random state and those of these GPUs; `torch.manual_seed` would seed all others, too."""
    torch.default_generator.manual_seed(seed)
    for device in devices:
        torch.cuda.default_generators[device].manual_seed(seed)


@contextmanager
def fixed_seed(seed: int | None, devices: Iterable[int] = ()) -> Iterator[None]:
    """Run the body from this seed (None: from the random state as it is), and put the random state back."""
    if seed is None:
        yield
        return
    devices = list(devices)
    with torch.random.fork_rng(devices=devices):
        reseed(seed, devices)
        yield
