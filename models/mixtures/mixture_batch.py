"""Several mixtures of one kind in one tensor: restarts that take each step of EM together.

On a small table a step is calls, not arithmetic: fifty mixtures cost little more than one. Their families stand side by
side in one family of `copies` times as many members.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...data.moments import Moments
from ...data.rows import Rows
from ..contract import Statistics
from ..families.copies import own_tensors, repeat, set_copies
from ..families.family import Family
from .e_step import sum_blocks
from .starts import draw_start


@runtime_checkable
class OneOf(Protocol):
    """What is asked of a mixture here."""

    family: Family
    weights: Any
    softness: float

    def _coordinates(self, x: Tensor, data: Moments) -> Tensor: ...
    def _shares(self, counts: Tensor) -> Tensor: ...
    def _log_prior_of_weights(self, weights: Tensor) -> Any: ...


class Batch:
    """R mixtures: the one given, started on these rows, and one new start beside it from each generator.

    A new start is the one that `Mixture.initialize` draws from the same generator. Raises what that raises.
    """

    @torch.no_grad()
    def __init__(self, mixture: OneOf, rows: Rows, generators: Sequence[torch.Generator]):
        self.mixture = mixture
        k, moments = mixture.family.components, rows.moments
        start = draw_start(rows, k, generators, lambda x: mixture._coordinates(x, moments), mixture.softness)
        self.family = repeat(mixture.family, len(generators))
        self.family.set_units(start.locations, moments)
        self.family.start(start.x, start.responsibilities)
        weights = mixture._shares(start.responsibilities.sum(0).unflatten(0, (-1, k)))
        self.weights = torch.cat([mixture.weights.detach().unsqueeze(0), weights])  # (R, k)
        for first, others in zip(own_tensors(mixture.family), own_tensors(self.family), strict=True):
            others.data = torch.cat([first.data.reshape(-1, *others.shape[1:]), others.data])
        self._count(len(self.weights))

    @torch.no_grad()
    def expect(
        self, x: Float[Tensor, "n d"], weights: Float[Tensor, " n"] | None, labels: Int[Tensor, " n"] | None
    ) -> Statistics:
        """The E-step of each, side by side: `sum_blocks`. A bound that is not finite says that some row is impossible
        there."""
        return sum_blocks(self.family, self.weights.log(), x, weights, labels)

    @torch.no_grad()
    def global_term(self) -> Float[Tensor, " copies"]:
        """log p(theta) of each; 0 without a prior."""
        return self.family.log_prior().reshape(-1) + self.mixture._log_prior_of_weights(self.weights)

    @torch.no_grad()
    def maximize(self, statistics: Statistics) -> Bool[Tensor, " copies"]:
        """The M-step of each. Returns which could take it; the others, such as one that ended in a singularity, are
        gone."""
        able = torch.ones(len(self.weights), dtype=torch.bool)
        before = [tensor.data for tensor in own_tensors(self.family)]
        try:
            self.family.maximize(statistics.weight, statistics.total)
        except (ArithmeticError, ValueError):  # in one of them: each by itself says which
            for tensor, value in zip(own_tensors(self.family), before, strict=True):
                tensor.data = value
            able = torch.tensor([self._is_able(i, statistics) for i in range(len(able))])
            able &= not able.all()  # they fail together alone: none is left to go on
            statistics = self.keep(able.nonzero().squeeze(1), statistics)
            if able.any():
                able[able.clone()] = self.maximize(statistics)
            return able
        self.weights = self.mixture._shares(statistics.weight.reshape(self.weights.shape))
        return able

    @torch.no_grad()
    def collapsed(self) -> Bool[Tensor, " copies"]:
        """Which have a component that has shrunk onto a few rows: those that `Mixture.check` does not let pass."""
        return self.family.collapsed(self.weights.flatten()).reshape(self.weights.shape).any(-1)

    def keep(self, kept: Int[Tensor, " kept"], statistics: Statistics) -> Statistics:
        """Only these stay, in this order. Returns their part of the statistics."""
        lead = len(self.weights), -1
        for tensor in own_tensors(self.family):
            tensor.data = tensor.data.unflatten(0, lead)[kept].flatten(0, 1)
        self.weights = self.weights[kept]
        self._count(len(kept))
        return replace(
            statistics,
            weight=statistics.weight.unflatten(0, lead)[kept].flatten(),
            total=statistics.total.unflatten(0, lead)[kept].flatten(0, 1),
            bound=statistics.bound[kept],
        )

    @torch.no_grad()
    def write(self, i: int, mixture: OneOf) -> None:
        """Give a mixture of this kind the parameters of number i."""
        for own, tensor in zip(own_tensors(mixture.family), own_tensors(self.family), strict=True):
            own.data = tensor.data.unflatten(0, (len(self.weights), -1))[i].reshape(own.shape).clone()
        mixture.weights = self.weights[i]

    def copy_of(self, i: int) -> Any:
        """Number i, by itself."""
        single = copy.deepcopy(self.mixture)
        self.write(i, single)
        return single

    # inside

    def _is_able(self, i: int, statistics: Statistics) -> bool:
        """Whether number i can take this M-step."""
        weight, total = (
            sums.unflatten(0, (len(self.weights), -1))[i] for sums in (statistics.weight, statistics.total)
        )
        try:
            self.copy_of(i).family.maximize(weight, total)
        except (ArithmeticError, ValueError):
            return False
        return True

    def _count(self, copies: int) -> None:
        set_copies(self.family, copies)
