"""Random states: run code from a seed, and restore the random state afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..data.seeds import require_seed


def gpus(model: Any) -> list[int]:
    """The indices of the GPUs that hold parameters of the model."""
    return sorted({p.device.index for p in model.parameters() if p.is_cuda})


def reseed(seed: int, devices: Iterable[int] = ()) -> None:
    """Seed the random states of the CPU and of these GPUs. (`torch.manual_seed` would seed all GPUs.)"""
    torch.default_generator.manual_seed(seed)
    for device in devices:
        torch.cuda.default_generators[device].manual_seed(seed)


@contextmanager
def fixed_seed(seed: int | None, devices: Iterable[int] = ()) -> Iterator[None]:
    """Run the body from this seed, and restore the random state afterwards. None leaves the random state alone."""
    if seed is None:
        yield
        return
    seed, devices = require_seed(seed), list(devices)
    with torch.random.fork_rng(devices=devices):
        reseed(seed, devices)
        yield
