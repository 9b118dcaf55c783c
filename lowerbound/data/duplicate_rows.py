"""Duplicate rows of a table, found by their hashes, merged into distinct rows with summed weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MOST_CELLS = 1 << 20  # distinct rows of more values than this are not held (8 MiB)
SAMPLED = 12  # a sample of this many times sqrt(n) rows has 72 pairs of equal rows if each row is there twice
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio, odd
HALF = np.uint64(32)


def comparable_values(x: Float[Tensor, "n d"], labels: Int[Tensor, " n"] | None) -> Float[Tensor, "n c"]:
    """The values that make two rows equal: the columns, with 0.0 for -0.0, and the label if there is one."""
    x = x.double() + 0.0
    return x if labels is None else torch.cat([x, labels.double().unsqueeze(-1)], -1)


def row_hashes(x: Float[Tensor, "n c"]) -> np.ndarray:
    """(n,) one hash per row, the same for equal rows. NaN equals NaN."""
    bits = torch.where(torch.isnan(x), torch.nan, x).T.contiguous().numpy().view(np.uint64)
    mixed = np.zeros(len(x), np.uint64)
    for column in bits:
        mixed ^= column
        mixed ^= mixed >> HALF  # the digits of codes and counts are in the upper half
        mixed *= MIX
    return mixed ^ (mixed >> HALF)


def number_distinct(hashes: np.ndarray) -> tuple[Int[Tensor, " n"], Int[Tensor, " m"]]:
    """Number the distinct hashes from 0 in order of appearance.

    Returns the number of each row, and for each distinct hash the first row that has it.
    """
    number, unique = pd.factorize(hashes)
    first = np.empty(len(unique), np.int64)
    first[number[::-1]] = np.arange(len(number))[::-1]
    return torch.from_numpy(number), torch.from_numpy(first)


def all_equal(a: Float[Tensor, "n c"], b: Float[Tensor, "n c"]) -> Bool[Tensor, ""]:
    """Whether all values are the same. NaN equals NaN."""
    return ((a == b) | (torch.isnan(a) & torch.isnan(b))).all()


def sample_for_duplicates(n: int) -> Tensor | None:
    """Numbers of rows of a table of n, in order, among which there are equal ones if at most half of all are distinct;
    None where that would be most of the rows. The chance to be wrong is below exp(-50)."""
    size = int(SAMPLED * n**0.5)
    if 4 * size > n:
        return None
    return torch.from_numpy(np.sort(np.random.default_rng(0).choice(n, size, replace=False)))


def all_distinct(rows: Any) -> bool:
    """Whether no two rows of a chunk, with their labels, have the same hash."""
    hashes = row_hashes(comparable_values(rows.x, rows.labels))
    return len(np.unique(hashes)) == len(hashes)


@dataclass(frozen=True)
class DistinctRows:
    """Distinct rows x (m, d) in order of appearance, their summed weights (m,), and labels (m,) or None."""

    x: Float[Tensor, "m d"]
    weights: Float[Tensor, " m"]
    labels: Int[Tensor, " m"] | None


def merge_duplicates(chunks: Iterable[Any], n: int) -> DistinctRows | None:
    """The distinct rows of the chunks of a table of `n` rows.

    None if there are more than n / 2 of them, or if they have more than `MOST_CELLS` values. Reading then stops early.
    """
    known = np.empty(0, np.uint64)
    values: list[Tensor] = []  # the comparable values of the distinct rows, in one tensor
    x, labels = [], []
    weights = torch.zeros(0, dtype=torch.float64)
    for chunk in chunks:
        own = comparable_values(chunk.x, chunk.labels)
        number, first = number_distinct(np.concatenate([known, hashed := row_hashes(own)]))
        new, number = first[len(known) :] - len(known), number[len(known) :]
        if len(first) > min(n // 2, MOST_CELLS // own.shape[1]):
            return None
        if len(new):
            known = np.concatenate([known, hashed[new.numpy()]])
            values = [torch.cat([*values, own[new]])]
            x.append(chunk.x[new])
            labels.append(None if chunk.labels is None else chunk.labels[new])
            weights = torch.cat([weights, weights.new_zeros(len(new))])
        if not all_equal(own, values[0][number]):
            return None  # two different rows with one hash, which is very rare
        weights.index_add_(0, number, weights.new_ones(len(own)) if chunk.weights is None else chunk.weights)
    return DistinctRows(torch.cat(x), weights, None if labels[0] is None else torch.cat(labels))
