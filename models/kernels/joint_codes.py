"""Columns of few categories, read several at a time: much less work than one indicator for each level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .compiled.block_sizes import COMPONENTS, padded
from .parallel_rows import add_parts, run_in_parts
from .special_functions import LOG2_E
from .visit import Summarize, Visit

MAX_CODES = 1024  # codes of a group: their table stays in the first-level cache
BLOCK_ROWS = 1 << 14  # rows of a block: each needs little memory


class JointCodes:
    """Groups of columns whose categories form one joint code each, as digits form a number.

    The log probability of a row is then one table look-up for each group. The sums of the M-step are counts of joint
    codes, from which the counts of single columns follow by adding up.
    """

    def __init__(self, levels: Sequence[int]):
        self.groups: list[list[int]] = []
        self.sizes: list[int] = []
        for column, size in enumerate(levels):
            if self.groups and self.sizes[-1] * size <= MAX_CODES:
                self.groups[-1].append(column)
                self.sizes[-1] *= size
            else:
                self.groups.append([column])
                self.sizes.append(size)
        self.most, self.least = torch.tensor(levels, dtype=torch.float64), min(levels)
        self.levels = [[levels[column] for column in group] for group in self.groups]
        # the factor of each column in the joint code of its group
        self.base = torch.zeros(len(levels), len(self.groups), dtype=torch.float64)
        for g, group in enumerate(self.groups):
            for i, column in enumerate(group):
                self.base[column, g] = math.prod(self.levels[g][i + 1 :])
        self.offset = torch.tensor([0.0, *self.sizes[:-1]], dtype=torch.float64).cumsum(0).unsqueeze(-1)

    def codes(self, x: Float[Tensor, "n d"]) -> Int[Tensor, "g n"] | None:
        """The index of each row in the stacked tables of the groups, (g, n); None if some value is not a valid code."""
        most, base, offset = (part.to(x.device) for part in (self.most, self.base, self.offset))
        low, high = x.aminmax()
        fits = low >= 0 and (bool(high < self.least) or bool((x.amax(0) < most).all()))
        if not fits or x.frac().sum() != 0:
            return None
        return torch.addmm(offset, base.T, x.T).long()

    def table(self, log_probs: Sequence[Float[Tensor, "k _"]]) -> Float[Tensor, "k c"]:
        """The log probability (k, c) of each joint code, from those of the levels of each column."""
        tables = []
        for group in self.groups:
            joint = log_probs[group[0]]
            for column in group[1:]:
                joint = (joint.unsqueeze(-1) + log_probs[column].unsqueeze(-2)).flatten(1)
            tables.append(joint)
        return torch.cat(tables, -1)

    def by_column(self, sums: Float[Tensor, "k c"]) -> Float[Tensor, "k s"]:
        """Sums (k, s) for each level of each column in turn, from sums (k, c) for each joint code."""
        found = []
        for levels, joint in zip(self.levels, sums.split(self.sizes, -1), strict=True):
            for level in levels:  # sum over the other columns, then drop this one
                joint = joint.reshape(len(joint), level, -1)
                found.append(joint.sum(2))
                joint = joint.sum(1)
        return torch.cat(found, -1)

    def visit(
        self,
        log_probs: Sequence[Float[Tensor, "k _"]],
        collect: Callable[[Tensor], Tensor] = lambda sums: sums,
    ) -> Visit:
        """The `Visit` of a family, from the log probabilities of the levels of each column.

        collect: turns sums (k, s) for each level of each column in turn into the statistics of the family.
        """
        own = JointCodePass(self, self.table(log_probs), collect)
        return Visit(own.block, own.collected, lambda: own)


@dataclass(frozen=True)
class JointCodePass:
    """An E-step by a table (k, c) of the log probabilities of joint codes.

    collect: as in `JointCodes.visit`.
    """

    joint: JointCodes
    table: Float[Tensor, "k c"]
    collect: Callable[[Tensor], Tensor]

    def block(self, x: Tensor) -> tuple[Tensor, Summarize]:
        """In torch, as `Visit.block`: with sums (k, c) for each joint code."""
        found = self.joint.codes(x)
        if found is None:
            none = torch.full_like(self.table, torch.nan)
            return x.new_full((len(x), len(none)), torch.nan), lambda _: none
        codes = [code.expand(len(self.table), -1) for code in found]  # each (k, n), so that sums run along memory
        log_prob = self.table.gather(1, codes[0])
        for code in codes[1:]:
            log_prob += self.table.gather(1, code)
        return log_prob.T, partial(_sum_by_code, torch.zeros_like(self.table), codes)

    def collected(self, sums: Float[Tensor, "k c"]) -> Float[Tensor, "k s"]:
        """Sums (k, c) for each joint code to the statistics of the family."""
        return self.collect(self.joint.by_column(sums))

    def sum(
        self,
        x: Float[Tensor, "n d"],
        log_weights: Float[Tensor, "*copies k"],
        weights: Float[Tensor, " n"] | None,
        labels: Int[Tensor, " n"] | None,
    ) -> tuple[Float[Tensor, " members"], Float[Tensor, "members s"], Float[Tensor, "*copies"]]:
        """Sum over rows on the CPU in compiled code, as `CompiledPass.sum`."""
        from .compiled.categorical_e_step import categorical_e_step  # here: numba is slow to import

        members, c = self.table.shape
        k, groups = log_weights.shape[-1], self.joint.groups
        first = np.cumsum([0, *map(len, groups)])
        if log_weights.numel() != members or x.shape[1] != first[-1]:
            raise ValueError(
                f"got {log_weights.numel()} log weights and {x.shape[1]} columns, expected {members} and {first[-1]}"
            )
        table = np.zeros((c, padded(members, COMPONENTS)))
        table[:, :members] = self.table.T
        table[: self.joint.sizes[0], :members] += log_weights.flatten().numpy()
        table *= LOG2_E
        levels, base, offset = (
            part.flatten().numpy() for part in (self.joint.most, self.joint.base.sum(1), self.joint.offset)
        )
        given = first, levels, base, offset, table, k
        memory = 3 + len(base) + table.shape[1], torch.float64
        sums = (table.shape, float), ((members // k,), float)
        cost = table.shape[1] * (24 + 4 * len(groups)) + 8 * len(levels)
        total, bound = map(
            torch.from_numpy, add_parts(run_in_parts(categorical_e_step, x, weights, labels, given, memory, sums, cost))
        )
        total = total[:, :members].T
        bound = (math.log(2) * bound).reshape(log_weights.shape[:-1])
        weight = total[:, : self.joint.sizes[0]].sum(1)
        return weight, self.collected(total).contiguous(), bound


def _sum_by_code(empty: Tensor, codes: Sequence[Tensor], responsibilities: Tensor) -> Tensor:
    """Sums of responsibilities (n, k) for each joint code."""
    sums = empty.clone()
    for code in codes:
        sums.scatter_add_(1, code, responsibilities.T)
    return sums
