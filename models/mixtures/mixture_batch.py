"""Several mixtures of one kind in one tensor: restarts that take each step of EM together.

On a small table the time of a step is that of the calls, not of the arithmetic: fifty mixtures cost little more than
one. Their families are side by side in one family, which has `copies` times as many components.
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
class BatchedMixture(Protocol):
    """The attributes and methods of a mixture that `Batch` uses."""

    family: Family
    weights: Any
    softness: float

    @property
    def _allows_empty(self) -> bool: ...
    def _coordinates(self, x: Tensor, data: Moments) -> Tensor: ...
    def _weights_from_counts(self, counts: Tensor) -> Tensor: ...
    def _log_prior_of_weights(self, weights: Tensor) -> Any: ...


class Batch:
    """R mixtures side by side: the given one, already started, and one new start from each generator.

    A new start is the one that `Mixture.initialize` draws from the same generator, and raises the same errors.

    Args:
        mixture: Number 0, with parameters that are set.
        rows: A small table.
        generators: R - 1 generators, one for each new start.
    """

    @torch.no_grad()
    def __init__(self, mixture: BatchedMixture, rows: Rows, generators: Sequence[torch.Generator]):
        self.mixture = mixture
        k, moments = mixture.family.components, rows.moments
        start = draw_start(
            rows, k, generators, lambda x: mixture._coordinates(x, moments), mixture.softness,
            spare=mixture._allows_empty, robust=mixture.family.robust_start,
        )  # fmt: skip
        self.family = repeat(mixture.family, len(generators))
        self.family.set_units(start.locations, moments)
        self.family.start(start.x, start.responsibilities)
        weights = mixture._weights_from_counts(start.responsibilities.sum(0).unflatten(0, (-1, k)))
        self.weights = torch.cat([mixture.weights.detach().unsqueeze(0), weights])  # (R, k)
        for first, others in zip(own_tensors(mixture.family), own_tensors(self.family), strict=True):
            others.data = torch.cat([first.data.reshape(-1, *others.shape[1:]), others.data])
        set_copies(self.family, len(self.weights))

    @torch.no_grad()
    def expect(
        self, x: Float[Tensor, "n d"], weights: Float[Tensor, " n"] | None, labels: Int[Tensor, " n"] | None
    ) -> Statistics:
        """The E-step of each mixture, side by side, as `sum_blocks` returns it.

        The bound of a mixture is not finite if some row has probability zero there.
        """
        return sum_blocks(self.family, self.weights.log(), x, weights, labels)

    @torch.no_grad()
    def global_term(self) -> Float[Tensor, " copies"]:
        """log p(theta) of each mixture in nats; 0 without a prior."""
        return self.family.log_prior().reshape(-1) + self.mixture._log_prior_of_weights(self.weights)

    @torch.no_grad()
    def maximize(self, statistics: Statistics) -> Bool[Tensor, " copies"]:
        """The M-step of each mixture. Returns which of them succeeded; the others, such as collapsed ones, are removed.

        The removed ones are no longer in `weights` and `family`.
        """
        able = torch.ones(len(self.weights), dtype=torch.bool)
        if not self.maximize_all(statistics):
            able = ~self.failing(statistics)
            able &= not able.all()  # if each succeeds alone but all fail together, none can continue
            statistics = self.keep(able.nonzero().squeeze(1), statistics)
            if able.any():
                able[able.clone()] = self.maximize(statistics)
        return able

    @torch.no_grad()
    def maximize_all(self, statistics: Statistics) -> bool:
        """The M-step of all mixtures together. If at least one fails, nothing changes, and it returns False."""
        before = [tensor.data for tensor in own_tensors(self.family)]
        try:
            self.family.maximize(statistics.weight, statistics.total)
        except (ArithmeticError, ValueError):
            for tensor, value in zip(own_tensors(self.family), before, strict=True):
                tensor.data = value
            return False
        self.weights = self.mixture._weights_from_counts(statistics.weight.reshape(self.weights.shape))
        return True

    @torch.no_grad()
    def failing(self, statistics: Statistics) -> Bool[Tensor, " copies"]:
        """Which mixtures have no M-step from these statistics, each alone."""
        alone, found = copy.deepcopy(self.mixture), torch.zeros(len(self.weights), dtype=torch.bool)
        sums = [part.unflatten(0, (len(found), -1)) for part in (statistics.weight, statistics.total)]
        for i, (weight, total) in enumerate(zip(*sums, strict=True)):
            self.copy_into(i, alone)
            try:
                alone.family.maximize(weight, total)
            except (ArithmeticError, ValueError):
                found[i] = True
        return found

    def values(self) -> list[Tensor]:
        """All parameters and buffers of the mixtures, for `restore`. They are replaced, never changed in place."""
        return [self.weights, *(tensor.data for tensor in own_tensors(self.family))]

    def restore(self, values: list[Tensor], which: Bool[Tensor, " copies"]) -> None:
        """Give these mixtures the parameters that `values` returned."""

        def restored(now: Tensor, before: Tensor) -> Tensor:
            lead = len(which), -1
            old, new = before.unflatten(0, lead), now.unflatten(0, lead)
            return torch.where(which.reshape(-1, *[1] * (old.ndim - 1)), old, new).flatten(0, 1)

        weights, *others = values
        self.weights = torch.where(which.unsqueeze(-1), weights, self.weights)
        for tensor, value in zip(own_tensors(self.family), others, strict=True):
            tensor.data = restored(tensor.data, value)

    @torch.no_grad()
    def collapsed(self) -> Bool[Tensor, " copies"]:
        """Which mixtures have a collapsed component: those for which `Mixture.check` raises."""
        return self.family.collapsed(self.weights.flatten()).reshape(self.weights.shape).any(-1)

    def keep(self, kept: Int[Tensor, " kept"], statistics: Statistics) -> Statistics:
        """Keep only these mixtures, in this order. Returns their part of the statistics."""
        lead = len(self.weights), -1
        for tensor in own_tensors(self.family):
            tensor.data = tensor.data.unflatten(0, lead)[kept].flatten(0, 1)
        self.weights = self.weights[kept]
        set_copies(self.family, len(kept))
        return replace(
            statistics,
            weight=statistics.weight.unflatten(0, lead)[kept].flatten(),
            total=statistics.total.unflatten(0, lead)[kept].flatten(0, 1),
            bound=statistics.bound[kept],
        )

    @torch.no_grad()
    def copy_into(self, i: int, mixture: BatchedMixture) -> None:
        """Set the parameters of a mixture of this kind to those of number i."""
        for own, tensor in zip(own_tensors(mixture.family), own_tensors(self.family), strict=True):
            own.data = tensor.data.unflatten(0, (len(self.weights), -1))[i].reshape(own.shape).clone()
        mixture.weights = self.weights[i]

    def copy_of(self, i: int) -> Any:
        """Mixture number i, as a separate model."""
        single = copy.deepcopy(self.mixture)
        self.copy_into(i, single)
        return single
