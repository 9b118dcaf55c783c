"""Modules that stay in double precision, and modules that refuse half precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class KeepsFloat64(torch.nn.Module):
    """A module whose numbers stay float64: `.float()`, `.half()` and `.to(dtype)` change the precision of others.

    Densities of small components and sums over many rows need the digits. Rows may come in any precision.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True):
        # torch's hook of all moves and casts: what a cast makes is replaced by the numbers as they were, moved
        def moved(tensor: Tensor) -> Tensor:
            made = fn(tensor)
            return made if made.dtype == tensor.dtype or tensor.dtype != torch.float64 else tensor.to(made.device)

        return super()._apply(moved, recurse)


class RefusesHalf(torch.nn.Module):
    """A module that takes single and double precision only: `.half()` and `.bfloat16()` raise TypeError.

    The bound of a row needs more than three digits, and torch has no Cholesky factors in half precision.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True):
        made = fn(torch.zeros(1)).dtype  # asked before anything changes
        if made in (torch.float16, torch.bfloat16):
            raise TypeError(
                f"got {made} for a {type(self).__name__}, expected torch.float32 or torch.float64: its bound needs "
                "more digits than half precision has"
            )
        return super()._apply(fn, recurse)
