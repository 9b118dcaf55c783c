"""Rows that are alike, found by their hashes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio, odd
HALF = np.uint64(32)


def cells(x: Float[Tensor, "n d"], labels: Int[Tensor, " n"] | None) -> Float[Tensor, "n c"]:
    """What makes two rows alike: their cells, 0.0 for -0.0, and their label if they may have one."""
    x = x.double() + 0.0
    return x if labels is None else torch.cat([x, labels.double().unsqueeze(-1)], -1)


def hashes(x: Float[Tensor, "n c"]) -> np.ndarray:
    """(n,) a number for each row, the same for rows that are alike; NaN is like NaN."""
    bits = torch.where(torch.isnan(x), torch.nan, x).T.contiguous().numpy().view(np.uint64)
    mixed = np.zeros(len(x), np.uint64)
    for column in bits:
        mixed ^= column
        mixed ^= mixed >> HALF  # codes and counts have their digits in the upper half
        mixed *= MIX
    return mixed ^ (mixed >> HALF)


def distinct(hashed: np.ndarray) -> tuple[Int[Tensor, " n"], Int[Tensor, " m"]]:
    """For each row the number of its pattern, from 0 as they come, and for each pattern its first row."""
    number, patterns = pd.factorize(hashed)
    first = np.empty(len(patterns), np.int64)
    first[number[::-1]] = np.arange(len(number))[::-1]
    return torch.from_numpy(number), torch.from_numpy(first)


def alike(a: Float[Tensor, "n c"], b: Float[Tensor, "n c"]) -> Bool[Tensor, ""]:
    """Whether all cells are the same; NaN is like NaN."""
    return ((a == b) | (torch.isnan(a) & torch.isnan(b))).all()
