"""The compiled E-step of models whose log densities are linear in statistics of a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .compiled.block_sizes import COMPONENTS, STATISTICS, padded
from .parallel_rows import add_parts, run_in_parts
from .special_functions import LOG2_E

CHUNK_ROWS = 1 << 16  # rows whose `numbers` are held at a time


@dataclass(frozen=True)
class ColumnPairs:
    """Which two entries of (1, y) each statistic of a row y is the product of.

    Attributes:
        left, right: The numbers of the two factors, 0 for the 1. First come the statistics whose coefficients differ by
            component, then those that all components share. Both groups are padded to full tiles with 1 x 1.
        own: How many statistics of the first group are not padding.
        shared: How many of the second group are not padding.
    """

    left: Int[np.ndarray, " m"]
    right: Int[np.ndarray, " m"]
    own: int
    shared: int

    @cached_property
    def highest(self) -> int:
        """The largest number of a factor."""
        return int(max(self.left.max(), self.right.max()))

    @classmethod
    def of(cls, own: Sequence[Sequence[int]], shared: Sequence[Sequence[int]] = ((), ())) -> ColumnPairs:
        """Make it from the two factors of each own statistic, and of each shared one."""

        sides = []
        for one, other in zip(own, shared, strict=True):
            first = padded(len(one), STATISTICS)
            side = np.zeros(first + padded(len(other), STATISTICS), np.int64)
            side[: len(one)] = one
            side[first : first + len(other)] = other
            sides.append(side)
        return cls(sides[0], sides[1], len(own[0]), len(shared[0]))


@lru_cache(maxsize=64)
def identity_pairs(d: int) -> ColumnPairs:
    """The statistics (1, y) for y of d columns: no products."""
    return ColumnPairs.of(((0,) * (1 + d), range(1 + d)))


@dataclass(frozen=True)
class CompiledLinearPass:
    """log p(x | z = k) = coefficients[k] . T(x) + common . C(x) + carrier(x), in compiled code.

    T(x) (p statistics, the first is 1) and C(x) (q statistics) are products of two entries of (1, y). y (n, f) are the
    `numbers` of the rows minus `centre`.

    Attributes:
        centre: (f,).
        pairs: Which products make T and C.
        coefficients: (k, p), in the precision to compute in.
        collect: Turns the sums (k, p) of responsibilities times T, and (q,) of row weights times C, into the statistics
            (k, s) of `Family.summarize`, or into others that lead to the same M-step.
        common: (copies, q) coefficients of C, for a family of several copies side by side; None without C.
        numbers: Rows (n, d) to (n, f); None if they are the rows themselves.
        carrier: Rows (n, d) to their log base measure (n,), or a number.
    """

    centre: Float[Tensor, " f"]
    pairs: ColumnPairs
    coefficients: Float[Tensor, "k p"]
    collect: Callable[[Tensor, Tensor], Tensor]
    common: Float[Tensor, "copies q"] | None = None
    numbers: Callable[[Tensor], Tensor] | None = None
    carrier: Callable[[Tensor], Tensor | float] | None = None

    @property
    def flops(self) -> int:
        """Floating-point operations per row, of the matrix products and of the shared sums, without padding."""
        return 4 * self.coefficients.numel() + 2 * self.pairs.shared

    def sum(
        self,
        x: Float[Tensor, "n d"],
        log_weights: Float[Tensor, "*copies k"],
        weights: Float[Tensor, " n"] | None,
        labels: Int[Tensor, " n"] | None,
    ) -> tuple[Float[Tensor, " members"], Float[Tensor, "members s"], Float[Tensor, "*copies"]]:
        """Sum over rows on the CPU, as `CompiledPass.sum`.

        Raises:
            ValueError: The parts of this pass do not fit each other.
        """
        from .compiled.linear_e_step import linear_e_step  # here: numba is slow to import

        members, p = self.coefficients.shape
        k, f = log_weights.shape[-1], len(self.centre)
        copies, left, right = members // k, self.pairs.left, self.pairs.right
        highest = self.pairs.highest
        if log_weights.numel() != members or p != self.pairs.own or highest > f:
            raise ValueError(
                f"got {log_weights.numel()} log weights and {self.pairs.own} statistics of columns up to {highest}, "
                f"expected {members}, {p} and {f}, the sizes of the coefficients and of the centre"
            )
        own = self.coefficients.detach().numpy()  # numpy: on a small table the calls take longer than the rows
        coefficients = np.zeros((padded(members, COMPONENTS), padded(p, STATISTICS)), own.dtype)
        coefficients[:members, :p] = own
        coefficients[:members, 0] += log_weights.detach().numpy().reshape(-1)
        coefficients *= own.dtype.type(LOG2_E)
        kp, pp = coefficients.shape
        given = self.centre.contiguous().numpy(), left, right, coefficients, k
        memory = 10 + f + 2 * kp, self.coefficients.dtype
        shapes = ((kp, pp), float), ((len(left) - pp,), float), ((copies,), float)
        cost = 2 * kp * pp + 24 * kp + 16 * f

        sums: Any = None
        extra: Any = 0.0
        whole = not self.numbers or len(x) <= CHUNK_ROWS
        for start in range(0, len(x), len(x) if whole else CHUNK_ROWS):
            rows, w, z = x, weights, labels
            if not whole:
                rows = x[start : start + CHUNK_ROWS]
                w, z = (None if part is None else part[start : start + len(rows)] for part in (weights, labels))
            numbers = self.numbers(rows) if self.numbers else rows
            if numbers.shape != (len(rows), f) or numbers.dtype != torch.float64:
                raise ValueError(
                    f"got statistics of shape {tuple(numbers.shape)} and {numbers.dtype}, expected {(len(rows), f)} "
                    "and torch.float64: one column for each natural parameter"
                )
            parts = run_in_parts(linear_e_step, numbers, w, z, given, memory, shapes, cost)
            sums = add_parts(parts if sums is None else [(0, sums), *parts])
            if self.carrier is not None:
                own = torch.as_tensor(self.carrier(rows), dtype=x.dtype).expand(len(rows))
                extra = extra + (own.sum() if w is None else own @ w)
        assert sums is not None
        bound = torch.from_numpy(math.log(2) * sums[2]).reshape(log_weights.shape[:-1]) + extra
        total, shared = torch.from_numpy(sums[0][:members, :p]), torch.from_numpy(sums[1][: self.pairs.shared])
        if self.common is not None:
            bound = bound + (self.common @ shared).reshape(bound.shape)
        return total[:, 0].clone(), self.collect(total, shared).contiguous(), bound
