"""The distribution of the observed values of a row, for Pyro."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from .missing_values import ReadsRows, log_prob_of_rows


class ObservedValues(TorchDistribution):
    """p(observed values of a row | z), for rows with NaN where a value is missing: as `component(z)` is for complete
    rows."""

    arg_constraints = {}  # type: ignore[reportIncompatibleMethodOverride,reportAssignmentType]  # noqa: RUF012

    def __init__(self, family: ReadsRows, z: Tensor):
        self.family, self.z = family, z
        super().__init__(z.shape, torch.Size([family.features]), validate_args=False)

    @property
    def support(self) -> Any:  # type: ignore[override]
        """The support of complete rows, which says what kind of numbers the columns hold."""
        component: Any = self.family.component(self.z)
        return component.support

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of the observed values of rows (n, d) under z (..., n), or (..., 1)."""
        log_prob = log_prob_of_rows(self.family, value)  # (n, k)
        z = self.z.expand(torch.broadcast_shapes(self.z.shape, value.shape[:1]))
        return log_prob.expand(*z.shape, -1).gather(-1, z.unsqueeze(-1)).squeeze(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 (torch's signature)
        """Complete rows."""
        drawn: Any = self.family.component(self.z)
        return drawn.sample(sample_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ObservedValues:
        """The same for more z."""
        return ObservedValues(self.family, self.z.expand(batch_shape))
