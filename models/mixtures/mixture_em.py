"""The start, the E-step and the M-step of a mixture."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor

from ...data.moments import Moments
from ...data.rows import Rows
from ...data.threads import threads_for
from ..contract import Statistics
from ..kernels.parallel_rows import can_compile
from ..module import device_of, hold_fixed, on_the_cpu, restore_frozen
from .e_step import sum_blocks
from .fill_missing import FillsMissing
from .mixture_batch import Batch
from .starts import draw_start


class FitsByEM(FillsMissing):
    """Weights and a family, fitted by EM: `initialize`, `expect`, `maximize`."""

    old_names: ClassVar[Mapping[str, str]] = {"carry": "remeasure"}
    weights: Tensor
    weights_unconstrained: Tensor
    concentration: float | None
    softness = 0.1  # the share of each row that a start spreads evenly over all components, to avoid singular starts

    @on_the_cpu
    @torch.no_grad()
    def initialize(self, x: Any, weights: Any, generator: torch.Generator, redraw: bool = True) -> None:
        """Learn the names and units of the data, then draw starting parameters.

        The start is weighted k-means++ in the family's `coordinates`, responsibilities softened to 0.9 r + 0.1 / k, and
        the family's `start`. Frozen parameters stay. If the frozen parameters are locations, these are the centres.

        Args:
            x: (n, d) rows, as `fit` takes them.
            weights: (n,) row weights, or None for ones.
            generator: What the start is drawn from.
            redraw: False keeps parameters that are already set.

        Raises:
            ValueError: Another number of columns than the model has, fewer (distinct) rows than components without a
                prior, values that the family does not support, or a frozen parameter that was never set.
        """
        rows, moments = self._rows_to_fit(x, weights)
        k = self.family.components
        self.require_frozen_set()
        keep = [
            (part, name) for part in self.recorded() for name in part.names_set if not redraw or part.is_frozen(name)
        ]
        if self.family.is_set and not (redraw and any(p.requires_grad for p in self.family.parameters())):
            if redraw:
                self._set_weights(torch.ones(k, dtype=torch.float64))
            return self.family.set_units(None, moments)
        own = [(module, name, module.value(name).detach().clone()) for module, name in keep]
        with hold_fixed(keep):
            locations = self.family.fixed_location()
            start = draw_start(
                rows, k, [generator], lambda x: self._coordinates(x, moments), self.softness, locations,
                spare=self._allows_empty, robust=self.family.robust_start,
            )  # fmt: skip
            share = start.responsibilities
            if locations is not None and redraw:  # the centres are known: restarts differ by random shares
                share = share * torch.rand(share.shape, generator=generator, dtype=share.dtype)
                share = share * (start.responsibilities.sum(1) / share.sum(1)).unsqueeze(1).nan_to_num()
            self.family.set_units(start.locations, moments)
            with restore_frozen(self.family):
                self.family.start(start.x, share)
        self._set_weights(start.responsibilities.sum(0))
        for module, name, value in own:
            setattr(module, name, value)
        return None

    @torch.no_grad()
    def expect(self, x: Any, weights: Any = None, labels: Any = None, dtype: torch.dtype | None = None) -> Statistics:
        """E-step: responsibilities of each row and their sums, block by block. Nothing of size (n, k) is kept.

        Args:
            x: (n, d) rows.
            weights: (n,) row weights, or None for ones.
            labels: (n,) known components, -1 where unknown, or None.
            dtype: torch.float32 computes in single precision, if the family can, and sums in float64.

        Returns:
            `Statistics`: weight (k,), total (k, s), the bound in nats and the total weight.

        Raises:
            ArithmeticError: A row has probability zero under every component.
        """
        rows, weights, labels = self._rows_to_sum(x, weights, labels)
        return self._require_possible(x, sum_blocks(self.family, self._log_weights(), rows, weights, labels, dtype))

    @torch.no_grad()
    def maximize(self, statistics: Statistics, length: float = 1.0) -> None:
        """M-step: weights proportional to the sums of responsibilities, and the M-step of the family.

        Frozen parameters stay, and the others take their best values given them (ECM: Meng & Rubin, Biometrika 80
        (1993), 267-278).

        Args:
            statistics: What `expect` returns, summed over all rows.
            length: The fraction of its step that a `generalized` family takes; 1 for all others.

        Raises:
            TypeError: A parameter is frozen, and the family has no M-step for the others alone.
        """
        self.family.require_allows_frozen()
        with restore_frozen(self.family), threads_for(statistics.total.numel()):
            if length == 1:
                self.family.maximize(statistics.weight, statistics.total)
            else:
                self.family.maximize(statistics.weight, statistics.total, length)
        self._set_weights(statistics.weight)

    @torch.no_grad()
    def remeasure(self, statistics: Statistics) -> Statistics:
        """Statistics from before the last M-step, as they would be summed at the present parameters."""
        return replace(statistics, total=self.family.remeasure(statistics.weight, statistics.total))

    @property
    def generalized(self) -> bool:
        """Whether `maximize` takes a step towards the maximum, which may be too long, instead of reaching it."""
        return self.family.generalized

    @property
    def has_expected_log_joint(self) -> bool:
        """Whether the statistics give the gradient of the bound: whether the family has `HasExpectedLogProb`."""
        return not self.family.lacking_expected_log_prob()

    def expected_log_joint(self, statistics: Statistics) -> Float[Tensor, ""]:
        """E[log p(x, z)] summed over the rows of these statistics, in nats, up to a constant. Differentiable.

        At the parameters where the statistics were taken, its gradient is that of the bound (Fisher's identity).
        """
        log_weights = torch.where(statistics.weight > 0, self.weights_unconstrained.log_softmax(-1), 0.0)
        return (
            statistics.weight @ log_weights + self.family.expected_log_prob(statistics.weight, statistics.total).sum()
        )

    @torch.no_grad()
    def prepare(self) -> None:
        """Compile or load the kernels of the E-step, so that no fit is timed with it.

        This takes some seconds once for an installation, then less than a second in each process.
        """
        rows = torch.zeros(1, self._row_family.features, dtype=torch.float64, device=device_of(self))
        compiled = self._row_family.visit().compiled
        if compiled is not None and can_compile(rows):
            weight, total, _ = compiled().sum(rows, rows.new_zeros(self._row_family.components), None, None)
            with suppress(ArithmeticError, ValueError):  # of one row: it is not what the M-step returns that counts
                copy.deepcopy(self._row_family).maximize(weight, total)

    def batch(self, rows: Rows, generators: Sequence[torch.Generator]) -> Batch | None:
        """This mixture, already started, and one new start from each generator, side by side in one tensor.

        Args:
            rows: A small table.
            generators: One for each new start.

        Returns:
            The `Batch`, or None if the family or the table does not allow it.
        """
        frozen = any(not parameter.requires_grad for parameter in self.parameters())
        # with missing values each start has its own rows; on a GPU a batch is not faster
        alone = frozen or rows.gaps.cells or device_of(self).type != "cpu"
        if not self.family.repeatable or self.generalized or alone:
            return None
        return Batch(self, rows, generators)

    @property
    def _allows_empty(self) -> bool:
        """Whether there may be more components than distinct rows: a prior says where those without rows are."""
        return self.family.has_prior

    def _coordinates(self, x: Float[Tensor, "n d"], data: Moments) -> Float[Tensor, "n c"]:
        """The points whose distances k-means++ uses, one for each row."""
        return self.family.coordinates(x, data)

    def _set_weights(self, counts: Float[Tensor, " k"]) -> None:
        """Set the weights from these counts, unless they are frozen."""
        if not self.is_frozen("weights"):  # sets the unconstrained tensor: the checks of `weights` are many small calls
            # the inverse of torch's map to the simplex, softmax, is the logarithm
            self.weights_unconstrained.data = self._weights_from_counts(counts).log()
            self.names_set.add("weights")

    def _log_weights(self) -> Float[Tensor, " k"]:
        """log weights, (k,)."""
        return self.weights_unconstrained.log_softmax(-1)

    def _weights_from_counts(self, counts: Float[Tensor, "*copies k"]) -> Float[Tensor, "*copies k"]:
        """The M-step of the weights: proportional to these counts plus those of the prior."""
        counts = counts if self.concentration is None else counts + (self.concentration - 1)
        return counts / counts.sum(-1, keepdim=True)

    def _log_prior_of_weights(self, weights: Float[Tensor, "*copies k"]) -> Float[Tensor, "*copies"] | float:
        """The log Dirichlet density of weights; 0 without a prior."""
        if self.concentration is None:
            return 0.0
        return dist.Dirichlet(torch.full_like(weights, self.concentration)).log_prob(weights)
