"""The E-step of models whose log densities are linear in statistics of a row: one compiled visit to each row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .threads import added, shared_out

PIECE = 1 << 16  # rows whose numbers are made at a time, where they are not the rows themselves
Pairs = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class Linear:
    """log p(x | z = k) = coefficients[k] . T(x) + common . C(x) + carrier(x), as the compiled pass takes it.

    The statistics in T and C are products of two of (1, y), with y (n, f) the `numbers` of rows, by default the rows
    themselves, less `centre`: `own` and `shared` say which two, the first of T being 1 x 1. coefficients: (k, p), in
    the precision to compute in; common: (copies, q), of a family of so many copies. collect: from sums (k, p) of
    responsibilities times T, and (q,) of row weights times C, to the statistics (k, s) of `Family.summarize`, or others
    that lead to the same M-step.
    """

    centre: Float[Tensor, " f"]
    own: Pairs
    coefficients: Float[Tensor, "k p"]
    collect: Callable[[Tensor, Tensor], Tensor]
    shared: Pairs = ((), ())
    common: Float[Tensor, "copies q"] | None = None
    numbers: Callable[[Tensor], Tensor] | None = None
    carrier: Callable[[Tensor], Tensor | float] | None = None

    @property
    def flops(self) -> int:
        """Of the matrix products that a row takes, and of the sums of what is shared."""
        return 4 * self.coefficients.numel() + 2 * len(self.shared[0])

    def sum(
        self,
        x: Float[Tensor, "n d"],
        log_weights: Float[Tensor, "*copies k"],
        weights: Float[Tensor, " n"] | None,
        labels: Int[Tensor, " n"] | None,
    ) -> tuple[Float[Tensor, " members"], Float[Tensor, "members s"], Float[Tensor, "*copies"]]:
        """Over rows on the CPU: the weight of each member, its statistics, and the bound of each copy in nats."""
        from .compiled import COMPONENTS, LOG2_E, ROWS, STATISTICS, soft  # here: the first import compiles

        k = log_weights.shape[-1]
        copies = log_weights.numel() // k
        members, p = self.coefficients.shape
        left, right = indices(self.own, self.shared, STATISTICS)
        coefficients = self.coefficients.new_zeros(padded(members, COMPONENTS), padded(p, STATISTICS))
        coefficients[:members, :p] = self.coefficients
        coefficients[:members, 0] += log_weights.flatten()
        coefficients = coefficients.mul_(LOG2_E).numpy()
        some = [np.empty(0) if weights is None else weights.numpy()]
        some.append(np.empty(0, np.int64) if labels is None else labels.numpy())
        centre = self.centre.numpy()

        def visitor(numbers: np.ndarray, first: int) -> Callable[[int, int], list[np.ndarray]]:
            memory = self.coefficients.new_empty(10 + len(centre) + len(coefficients), ROWS).numpy()

            def visit(start: int, stop: int) -> list[np.ndarray]:
                sums = [np.zeros(coefficients.shape), np.zeros(len(left) - coefficients.shape[1]), np.zeros(copies)]
                row_weights, known = (part[first + start : first + stop] for part in some)
                soft(numbers[start:stop], row_weights, known, centre, left, right, coefficients, k, memory, *sums)
                return sums

            return visit

        cost = 2 * coefficients.size + 24 * len(coefficients) + 16 * len(centre)  # of a row, in products of numbers
        found, extra = [], 0.0
        for start in range(0, len(x), PIECE if self.numbers else max(1, len(x))):
            part = x[start : start + PIECE] if self.numbers else x
            numbers = (self.numbers(part) if self.numbers else part).contiguous().numpy()
            found += shared_out(partial(visitor, numbers, start), len(part), cost, ROWS)
            if self.carrier is not None:
                own = self.carrier(part) if weights is None else self.carrier(part) * weights[start : start + PIECE]
                extra = extra + (own.sum() if isinstance(own, Tensor) else own)
        total, shared, bound = map(torch.from_numpy, added(found))
        total, shared = total[:members, :p], shared[: len(self.shared[0])]
        bound = (math.log(2) * bound).reshape(log_weights.shape[:-1]) + extra
        if self.common is not None:
            bound = bound + (self.common @ shared).reshape(bound.shape)
        return total[:, 0], self.collect(total, shared), bound


def padded(n: int, tile: int) -> int:
    """n, or what it takes for whole tiles."""
    return -(-n // tile) * tile


@lru_cache(maxsize=256)
def indices(own: Pairs, shared: Pairs, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Which two numbers each statistic is the product of: the components' own, padded, and the shared ones, padded."""
    sides = []
    for one, other in zip(own, shared, strict=True):
        first = padded(len(one), tile)
        side = np.zeros(first + padded(len(other), tile), np.int64)
        side[: len(one)] = one
        side[first : first + len(other)] = other
        sides.append(side)
    return sides[0], sides[1]
