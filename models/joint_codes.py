"""Columns of few categories, read several at a time: many times less work than one indicator for each level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .family import Summarize, Visit

LARGEST = 1024  # codes of a group: a table of them stays in the nearest cache


class JointCodes:
    """Groups of columns whose categories together make one code each, in a number system of mixed bases.

    The log probability of a row is then one look into a table for each group, and the sums of the M-step are counts of
    joint codes, from which those of the single columns follow by adding up.
    """

    def __init__(self, levels: Sequence[int]):
        self.groups: list[list[int]] = []
        self.sizes: list[int] = []
        for column, size in enumerate(levels):
            if self.groups and self.sizes[-1] * size <= LARGEST:
                self.groups[-1].append(column)
                self.sizes[-1] *= size
            else:
                self.groups.append([column])
                self.sizes.append(size)
        self.levels = [[levels[column] for column in group] for group in self.groups]
        self.place = torch.zeros(
            len(levels), len(self.groups), dtype=torch.float64
        )  # what a column counts in its group
        for g, group in enumerate(self.groups):
            for i, column in enumerate(group):
                self.place[column, g] = math.prod(self.levels[g][i + 1 :])
        self.offset = torch.tensor([0, *self.sizes[:-1]]).cumsum(0).unsqueeze(-1)

    def codes(self, x: Float[Tensor, "n d"]) -> Int[Tensor, "g n"]:
        """The place of each row in the tables of the groups, one below the other."""
        return (self.place.T @ x.T).long() + self.offset

    def table(self, log_probs: Sequence[Float[Tensor, "k _"]]) -> Float[Tensor, "c k"]:
        """Of each joint code, the log probability: from those of the levels of each column."""
        tables = []
        for group in self.groups:
            joint = log_probs[group[0]]
            for column in group[1:]:
                joint = (joint.unsqueeze(-1) + log_probs[column].unsqueeze(-2)).flatten(1)
            tables.append(joint.T)
        return torch.cat(tables)

    def single(self, sums: Float[Tensor, "k c"]) -> list[Float[Tensor, "k _"]]:
        """Of each level of each column, the sum: from those of the joint codes."""
        found = []
        for levels, part in zip(self.levels, sums.split(self.sizes, -1), strict=True):
            joint = part.reshape(len(part), *levels)
            for i in range(len(levels)):
                found.append(joint.sum([1 + j for j in range(len(levels)) if j != i]) if len(levels) > 1 else joint)
        return found

    def visit(self, log_probs: Sequence[Float[Tensor, "k _"]]) -> Visit:
        """The E-step's view of rows: log_prob (n, k), and from responsibilities the sums of joint codes (k, c)."""
        table = self.table(log_probs)

        def block(x: Tensor) -> tuple[Tensor, Summarize]:
            codes = self.codes(x)
            log_prob = table.index_select(0, codes[0])
            for code in codes[1:]:
                log_prob += table.index_select(0, code)

            def summarize(responsibilities: Tensor) -> Tensor:
                r = responsibilities.T
                sums = r.new_zeros(len(r), len(table))
                for code in codes:
                    sums.scatter_add_(1, code.expand_as(r), r)
                return torch.cat(self.single(sums), -1)

            return log_prob.T.contiguous().T, summarize  # reductions over components run along memory

        return block
