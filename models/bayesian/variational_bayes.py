"""Variational Bayes of a mixture as the two steps of EM, and its start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ..contract import Statistics
from ..mixtures.e_step import sum_blocks
from ..mixtures.starts import draw_start
from ..module import on_the_cpu
from .mixture_with_posterior import MixtureWithPosterior


class VariationalBayes(MixtureWithPosterior):
    """The part of `BayesianMixture` that engines call to fit q: E-step, M-step, start, check."""

    @torch.no_grad()
    def expect(self, x: Any, weights: Any = None, labels: Any = None, dtype: torch.dtype | None = None) -> Statistics:
        """The E-step of variational Bayes: that of EM at the expected natural parameters and expected log weights.

        Args:
            x: Rows (n, d).
            weights: (n,) row weights, or None.
            labels: (n,) known components, -1 where unknown, or None.
            dtype: torch.float32 computes in it, where the family can, and sums in float64.

        Returns:
            The statistics of these rows, and their bound.

        Raises:
            ArithmeticError: A row has probability zero under every component.
            TypeError: q is neither in closed form nor a point.
        """
        rows, weights, labels = self._rows_to_sum(x, weights, labels)
        self._require_parameters()
        family, log_weights = self.q.e_step_view()
        return self._require_possible(x, sum_blocks(family, log_weights, rows, weights, labels, dtype))

    @torch.no_grad()
    def maximize(self, statistics: Statistics, length: float = 1.0) -> None:
        """The M-step of variational Bayes: hyperparameters = those of the prior + statistics.

        An AutoDelta goes to the maximum of the expected log joint density (MAP), in closed form or by gradients.

        Args:
            statistics: Of all rows, as `expect` returns them.
            length: Not used, because no step is too long.
        """
        self.q.maximize(statistics)

    @torch.no_grad()
    def remeasure(self, statistics: Statistics) -> Statistics:
        """Statistics from before the last M-step, as the family would compute them now."""
        return replace(statistics, total=self.beliefs.remeasure(statistics.weight, statistics.total))

    @property
    def has_expected_log_joint(self) -> bool:
        """False: the gradients of its bound are those of hyperparameters."""
        return False

    @property
    def generalized(self) -> bool:
        """False: `maximize` goes to the maximum."""
        return False

    @on_the_cpu
    @torch.no_grad()
    def initialize(self, x: Any, weights: Any, generator: torch.Generator, redraw: bool = True) -> None:
        """Learn names, units and a weak prior from the data, and start q.

        The start is weighted k-means++ in the family's `coordinates`, responsibilities softened to 0.9 r + 0.1 / k, and
        an M-step.

        Args:
            x: Rows (n, d), as `fit` takes them.
            weights: (n,) row weights, or None.
            generator: The source of random numbers.
            redraw: False leaves a q that was started before as it is: the same distribution. The coordinates of a guide
                stay those of the data it was started at.

        Raises:
            TypeError: A parameter of q is frozen.
            ValueError: x has other columns, or values that the
                family excludes; or q consists of the draws of a sampler.
        """
        frozen = [name for name, parameter in self.named_parameters() if not parameter.requires_grad]
        if frozen:
            raise TypeError(
                f"{frozen[0].removesuffix('_unconstrained')} is frozen, expected parameters of q that can change: "
                "give known parameters a narrow prior, or fit a Mixture"
            )
        rows, moments = self._rows_to_fit(x, weights)
        if self.q.is_sampled:
            self.q.start_at({})  # raises the error that says why not
        if self.q.is_set and not redraw:
            self.beliefs.set_units(moments)
            return
        like = self.beliefs.likelihood
        start = draw_start(
            rows, self._k, [generator], lambda x: like.coordinates(x, moments), self.softness,
            spare=self._allows_empty, robust=like.robust_start,
        )  # fmt: skip
        theta = self.shares.start(start.responsibilities.sum(0))
        theta = theta | self.beliefs.start(start.x, start.responsibilities, start.locations, moments)
        self.q.start_at(theta)

    def check(self) -> None:
        """Raise `Collapse` if the point of an AutoDelta has run into a singularity; no other q can."""
        if self.q.is_point:
            super().check()
