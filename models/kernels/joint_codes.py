"""Columns of few categories, read several at a time: many times less work than one indicator for each level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .linear_pass import padded
from .parallel_rows import added, swept
from .special_functions import LOG2_E
from .visit import Summarize, Visit

LARGEST = 1024  # codes of a group: a table of them stays in the nearest cache
BLOCK_ROWS = 1 << 14  # rows taken at a time: what is made of one is short


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
        self.most, self.least = torch.tensor(levels, dtype=torch.float64), min(levels)
        self.levels = [[levels[column] for column in group] for group in self.groups]
        self.place = torch.zeros(
            len(levels), len(self.groups), dtype=torch.float64
        )  # what a column counts in its group
        for g, group in enumerate(self.groups):
            for i, column in enumerate(group):
                self.place[column, g] = math.prod(self.levels[g][i + 1 :])
        self.offset = torch.tensor([0.0, *self.sizes[:-1]], dtype=torch.float64).cumsum(0).unsqueeze(-1)

    def codes(self, x: Float[Tensor, "n d"]) -> Int[Tensor, "g n"] | None:
        """The place of each row in the tables of the groups, one below the other; None where some code is no level."""
        most, place, offset = (part.to(x.device) for part in (self.most, self.place, self.offset))
        low, high = x.aminmax()
        fits = low >= 0 and (bool(high < self.least) or bool((x.amax(0) < most).all()))
        if not fits or x.frac().sum() != 0:
            return None
        return torch.addmm(offset, place.T, x.T).long()

    def table(self, log_probs: Sequence[Float[Tensor, "k _"]]) -> Float[Tensor, "k c"]:
        """Of each joint code, the log probability: from those of the levels of each column."""
        tables = []
        for group in self.groups:
            joint = log_probs[group[0]]
            for column in group[1:]:
                joint = (joint.unsqueeze(-1) + log_probs[column].unsqueeze(-2)).flatten(1)
            tables.append(joint)
        return torch.cat(tables, -1)

    def single(self, sums: Float[Tensor, "k c"]) -> Float[Tensor, "k s"]:
        """Of each level of each column in turn, the sum: from those of the joint codes."""
        found = []
        for levels, joint in zip(self.levels, sums.split(self.sizes, -1), strict=True):
            for level in levels:  # the first column of those left, and then the rest without it
                joint = joint.reshape(len(joint), level, -1)
                found.append(joint.sum(2))
                joint = joint.sum(1)
        return torch.cat(found, -1)

    def visit(
        self,
        log_probs: Sequence[Float[Tensor, "k _"]],
        collect: Callable[[Tensor], Tensor] = lambda single: single,
    ) -> Visit:
        """The E-step's view of rows, from the log probabilities of the levels of each column. collect: from sums (k, s)
        of each level of each column in turn to the statistics of the family."""
        own = Coded(self, self.table(log_probs), collect)
        return Visit(own.block, own.collected, lambda: own)


@dataclass(frozen=True)
class Coded:
    """Rows to log probabilities, by a table (k, c) of those of their joint codes. collect: as `JointCodes.visit`."""

    joint: JointCodes
    table: Float[Tensor, "k c"]
    collect: Callable[[Tensor], Tensor]

    def block(self, x: Tensor) -> tuple[Tensor, Summarize]:
        """By torch, as `Visit.block`: with the sums of joint codes (k, c)."""
        found = self.joint.codes(x)
        if found is None:
            none = torch.full_like(self.table, torch.nan)
            return x.new_full((len(x), len(none)), torch.nan), lambda _: none
        codes = [code.expand(len(self.table), -1) for code in found]  # each (k, n): sums over k run along memory
        log_prob = self.table.gather(1, codes[0])
        for code in codes[1:]:
            log_prob += self.table.gather(1, code)
        return log_prob.T, partial(_put_in, torch.zeros_like(self.table), codes)

    def collected(self, sums: Float[Tensor, "k c"]) -> Float[Tensor, "k s"]:
        """Sums of joint codes to the statistics of the family."""
        return self.collect(self.joint.single(sums))

    def sum(
        self,
        x: Float[Tensor, "n d"],
        log_weights: Float[Tensor, "*copies k"],
        weights: Float[Tensor, " n"] | None,
        labels: Int[Tensor, " n"] | None,
    ) -> tuple[Float[Tensor, " members"], Float[Tensor, "members s"], Float[Tensor, "*copies"]]:
        """As `Linear.sum`."""
        from .compiled import COMPONENTS, coded

        members, c = self.table.shape
        k, groups = log_weights.shape[-1], self.joint.groups
        first = np.cumsum([0, *map(len, groups)])
        if log_weights.numel() != members or x.shape[1] != first[-1]:
            raise ValueError(
                f"got log weights of {log_weights.numel()} members and {x.shape[1]} columns, expected {members} and "
                f"{first[-1]}"
            )
        table = np.zeros((c, padded(members, COMPONENTS)))
        table[:, :members] = self.table.T
        table[: self.joint.sizes[0], :members] += log_weights.flatten().numpy()
        table *= LOG2_E
        levels, place, offset = (
            part.flatten().numpy() for part in (self.joint.most, self.joint.place.sum(1), self.joint.offset)
        )
        given = first, levels, place, offset, table, k
        memory = 3 + len(place) + table.shape[1], torch.float64
        sums = (table.shape, float), ((members // k,), float)
        cost = table.shape[1] * (24 + 4 * len(groups)) + 8 * len(levels)
        total, bound = map(torch.from_numpy, added(swept(coded, x, weights, labels, given, memory, sums, cost)))
        total = total[:, :members].T
        bound = (math.log(2) * bound).reshape(log_weights.shape[:-1])
        weight = total[:, : self.joint.sizes[0]].sum(1)
        return weight, self.collected(total).contiguous(), bound


def _put_in(empty: Tensor, codes: Sequence[Tensor], responsibilities: Tensor) -> Tensor:
    """The sums of responsibilities (n, k) of each joint code."""
    sums = empty.clone()
    for code in codes:
        sums.scatter_add_(1, code, responsibilities.T)
    return sums
