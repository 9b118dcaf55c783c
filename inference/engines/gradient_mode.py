"""Gradients inside of calls that are made where they are off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def gradients_enabled() -> Iterator[None]:
    """In the body, or in the function it decorates, gradients are on, though the caller may be in `torch.no_grad()` or
    `torch.inference_mode()`."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
