"""Standard normal noise that depends on the values of a row only, so that estimates by draws can be repeated."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

GOLDEN = -7046029254386353131  # 2^64 over the golden ratio, as a signed number
FIRST, SECOND = -4658895280553007687, -7723592293110705685  # the multipliers of splitmix64


def row_noise(x: Float[Tensor, "n d"], size: int) -> Float[Tensor, "n q"]:
    """(n, size) numbers that behave like draws from N(0, 1), the same for the same row at any position in the table.

    The bits of each row are hashed to 64 bits, which seed a counter-based generator (splitmix64; Steele, Lea & Flood,
    OOPSLA 2014). Its uniform numbers go through the normal quantile function. Torch's random state does not change.
    Integers overflow on purpose.
    """
    x = x.detach() + 0.0  # -0 is 0
    bits = x.contiguous().view(torch.int32 if x.dtype == torch.float32 else torch.int64).long()
    if x.dtype == torch.float64:  # low bits of integers are 0, and products would lose the high ones
        bits = bits ^ _shifted(bits, 32)
    keys = _mixed(GOLDEN * torch.arange(1, x.shape[1] + 1, device=x.device)) | 1
    seeds = _mixed((bits * keys).sum(1))
    numbers = _mixed(seeds[:, None] + GOLDEN * torch.arange(1, size + 1, device=x.device))
    uniform = (_shifted(numbers, 11).double() + 0.5) / 2**53
    return torch.special.ndtri(uniform).to(x.dtype)


def _mixed(x: Int[Tensor, "*s"]) -> Int[Tensor, "*s"]:
    """A bijection of 64-bit integers in which every output bit depends on every input bit."""
    x = (x ^ _shifted(x, 30)) * FIRST
    x = (x ^ _shifted(x, 27)) * SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Int[Tensor, "*s"], by: int) -> Int[Tensor, "*s"]:
    """x shifted to the right, with zeros from the left."""
    return (x >> by) & ((1 << (64 - by)) - 1)
