"""Rows that are alike, found by their hashes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MOST_CELLS = 1 << 20  # of patterns that are held, 8 MiB
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


@dataclass(frozen=True)
class Patterns:
    """Distinct rows x (m, d) in the order in which they come, their summed weights (m,) and labels (m,) or None."""

    x: Float[Tensor, "m d"]
    weights: Float[Tensor, " m"]
    labels: Int[Tensor, " m"] | None


def patterns(chunks: Iterable[Any], n: int) -> Patterns | None:
    """The distinct rows of the chunks of a table of `n` rows, which are read as far as there are few; None where these
    are more than half of n, or of more than `MOST_CELLS` cells."""
    known = np.empty(0, np.uint64)
    pieces: list[Tensor] = []
    x, labels = [], []
    weights = torch.zeros(0, dtype=torch.float64)
    for chunk in chunks:
        own = cells(chunk.x, chunk.labels)
        number, first = distinct(np.concatenate([known, hashed := hashes(own)]))
        new, number = first[len(known) :] - len(known), number[len(known) :]
        if len(first) > min(n // 2, MOST_CELLS // own.shape[1]):
            return None
        if len(new):
            known = np.concatenate([known, hashed[new.numpy()]])
            pieces = [torch.cat([*pieces, own[new]])]
            x.append(chunk.x[new])
            labels.append(None if chunk.labels is None else chunk.labels[new])
            weights = torch.cat([weights, weights.new_zeros(len(new))])
        if not alike(own, pieces[0][number]):
            return None  # two patterns of one hash: as rare as it gets
        weights.index_add_(0, number, weights.new_ones(len(own)) if chunk.weights is None else chunk.weights)
    return Patterns(torch.cat(x), weights, None if labels[0] is None else torch.cat(labels))
