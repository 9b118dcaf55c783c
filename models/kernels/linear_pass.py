"""The E-step of models whose log densities are linear in statistics of a row: one compiled visit to each row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .parallel_rows import added, swept

PIECE = 1 << 16  # rows whose numbers are made at a time, where they are not the rows themselves


@dataclass(frozen=True)
class Pairs:
    """Which two of (1, y) each statistic is the product of: `left` and `right`, those of the components' own first, and
    then those that they share, both padded to whole tiles with 1 x 1; `own`, `shared`: how many are no padding."""

    left: Int[np.ndarray, " m"]
    right: Int[np.ndarray, " m"]
    own: int
    shared: int

    @classmethod
    def of(cls, own: Sequence[Sequence[int]], shared: Sequence[Sequence[int]] = ((), ())) -> Pairs:
        """From the two sides of those of the components' own, and of the shared ones."""
        from .compiled import STATISTICS

        sides = []
        for one, other in zip(own, shared, strict=True):
            first = padded(len(one), STATISTICS)
            side = np.zeros(first + padded(len(other), STATISTICS), np.int64)
            side[: len(one)] = one
            side[first : first + len(other)] = other
            sides.append(side)
        return cls(sides[0], sides[1], len(own[0]), len(shared[0]))


@lru_cache(maxsize=64)
def columns(d: int) -> Pairs:
    """1 and d numbers as they are."""
    return Pairs.of(((0,) * (1 + d), range(1 + d)))


@dataclass(frozen=True)
class Linear:
    """log p(x | z = k) = coefficients[k] . T(x) + common . C(x) + carrier(x), as the compiled pass takes it.

    T (p of them, the first 1) and C (q) are products of two of (1, y), as `pairs` says, with y (n, f) the `numbers` of
    rows, by default the rows themselves, less `centre`. coefficients: (k, p), in the precision to compute in; common:
    (copies, q), of a family of so many copies. collect: from sums (k, p) of responsibilities times T, and (q,) of row
    weights times C, to the statistics (k, s) of `Family.summarize`, or others that lead to the same M-step.
    """

    centre: Float[Tensor, " f"]
    pairs: Pairs
    coefficients: Float[Tensor, "k p"]
    collect: Callable[[Tensor, Tensor], Tensor]
    common: Float[Tensor, "copies q"] | None = None
    numbers: Callable[[Tensor], Tensor] | None = None
    carrier: Callable[[Tensor], Tensor | float] | None = None

    @property
    def flops(self) -> int:
        """Of the matrix products that a row takes, and of the sums of what is shared, padding left out."""
        return 4 * self.coefficients.numel() + 2 * self.pairs.shared

    def sum(
        self,
        x: Float[Tensor, "n d"],
        log_weights: Float[Tensor, "*copies k"],
        weights: Float[Tensor, " n"] | None,
        labels: Int[Tensor, " n"] | None,
    ) -> tuple[Float[Tensor, " members"], Float[Tensor, "members s"], Float[Tensor, "*copies"]]:
        """Over rows on the CPU: the weight of each member, its statistics, and the bound of each copy in nats. Raises
        ValueError if the parts of this pass do not fit each other."""
        from .compiled import COMPONENTS, LOG2_E, STATISTICS, soft  # here: the first import compiles

        members, p = self.coefficients.shape
        k, f = log_weights.shape[-1], len(self.centre)
        copies, left, right = members // k, self.pairs.left, self.pairs.right
        highest = max(left.max(), right.max())
        if log_weights.numel() != members or p != self.pairs.own or highest > f:
            raise ValueError(
                f"got log weights of {log_weights.numel()} members, {self.pairs.own} statistics of up to {highest} "
                f"numbers, expected {members}, {p} and {f}, as the coefficients and the centre have them"
            )
        coefficients = self.coefficients.new_zeros(padded(members, COMPONENTS), padded(p, STATISTICS))
        coefficients[:members, :p] = self.coefficients
        coefficients[:members, 0] += log_weights.flatten()
        coefficients = coefficients.mul_(LOG2_E).numpy()
        kp, pp = coefficients.shape
        given = self.centre.contiguous().numpy(), left, right, coefficients, k
        memory = 10 + f + 2 * kp, self.coefficients.dtype
        shapes = ((kp, pp), float), ((len(left) - pp,), float), ((copies,), float)
        cost = 2 * kp * pp + 24 * kp + 16 * f

        whole, extra = None, x.new_zeros(())
        for start in range(0, len(x), PIECE if self.numbers else len(x)):
            rows = x[start : start + PIECE] if self.numbers else x
            w, z = (None if part is None else part[start : start + len(rows)] for part in (weights, labels))
            numbers = self.numbers(rows) if self.numbers else rows
            if numbers.shape != (len(rows), f) or numbers.dtype != torch.float64:
                raise ValueError(
                    f"got statistics of shape {tuple(numbers.shape)} and {numbers.dtype}, expected {(len(rows), f)} "
                    "and torch.float64, as many columns as natural parameters"
                )
            parts = swept(soft, numbers, w, z, given, memory, shapes, cost)
            whole = added(parts if whole is None else [(0, whole), *parts])
            if self.carrier is not None:
                own = torch.as_tensor(self.carrier(rows), dtype=x.dtype).expand(len(rows))
                extra = extra + (own.sum() if w is None else own @ w)
        assert whole is not None
        total, shared, bound = map(torch.from_numpy, whole)
        total, shared = total[:members, :p], shared[: self.pairs.shared]
        bound = (math.log(2) * bound).reshape(log_weights.shape[:-1]) + extra
        if self.common is not None:
            bound = bound + (self.common @ shared).reshape(bound.shape)
        return total[:, 0].clone(), self.collect(total, shared).contiguous(), bound


def padded(n: int, tile: int) -> int:
    """n, or what it takes for whole tiles."""
    return -(-n // tile) * tile
