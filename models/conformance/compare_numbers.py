"""Whether two ways to compute the same numbers agree."""

from __future__ import annotations

import torch
from torch import Tensor

CLOSE = 1e-8  # relative


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same shape and the same numbers up to 1e-8, relative to each and to the largest."""
    scale = 1 + float(b[torch.isfinite(b)].abs().max()) if torch.isfinite(b).any() else 1.0
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=CLOSE, atol=CLOSE * scale))


def difference(a: Tensor, b: Tensor) -> str:
    """The largest difference between two tensors, or their shapes, in words."""
    return f"{float((a - b).abs().max()):.2g}" if a.shape == b.shape else f"shape {tuple(a.shape)}, {tuple(b.shape)}"
