"""Whether two tensors are the same numbers, up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

CLOSE = 1e-8  # relative: two ways to compute one number in float64
SINGLE = 1e-4  # the same for a model with parameters in float32

Same = Callable[[Tensor, Tensor], bool]


def same(a: Tensor, b: Tensor, close: float = CLOSE) -> bool:
    """Whether two tensors have one shape and the same numbers, relative to the largest of them."""
    a, b = a.detach(), b.detach()
    scale = 1 + float(b[torch.isfinite(b)].abs().max()) if torch.isfinite(b).any() else 1.0
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=close, atol=close * scale))


def same_for(model: Any) -> Same:
    """`same` with the tolerance of the model's precision."""
    single = any(parameter.dtype == torch.float32 for parameter in model.parameters())
    return partial(same, close=SINGLE if single else CLOSE)


def rounding_for(model: Any) -> float:
    """How far two numbers of nats may differ by rounding, relative to 1 + their size."""
    return SINGLE if any(parameter.dtype == torch.float32 for parameter in model.parameters()) else 1e-6


def difference(a: Tensor, b: Tensor) -> str:
    """The largest difference in words, or the shapes if these differ."""
    a, b = a.detach(), b.detach()
    return f"{float((a - b).abs().max()):.2g}" if a.shape == b.shape else f"shape {tuple(a.shape)}, {tuple(b.shape)}"
