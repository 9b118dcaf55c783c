"""Rows of which some cells are missing (NaN): what families, mixtures and starts do with them.

A missing cell is marginalised: of a row counts log p(seen cells | z). The sums of the M-step have the expected T(x) of
the row given its seen cells, so that EM raises the likelihood of what was seen (Dempster, Laird & Rubin 1977): maximum
likelihood where cells are missing at random.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import transform_to

from ..kernels.visit import Summarize


@runtime_checkable
class ReadsRows(Protocol):
    """What is asked of a family here."""

    @property
    def features(self) -> int: ...
    @property
    def block_rows(self) -> int: ...
    def component(self, z: Any = ...) -> Any: ...
    def log_prob(self, x: Tensor) -> Tensor: ...
    def summarize(self, x: Tensor, responsibilities: Tensor) -> Tensor: ...


def log_prob_and_sums(family: ReadsRows, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Summarize]:
    """Of rows with or without missing cells, at the parameters as they stand: log p(seen cells | z = k) in nats,
    differentiable, and a function from responsibilities (n, k) to sums of E[T(x) | seen cells, z] (k, s)."""
    gone = x.isnan().any(1)
    if not gone.any():
        return family.log_prob(x), lambda r: family.summarize(x, r)
    takes_missing: Any = family
    incomplete, sums = takes_missing.visit_missing(x[gone])
    if gone.all():
        return incomplete, sums
    whole = ~gone
    order = torch.cat([whole.nonzero(), gone.nonzero()]).squeeze(1).argsort()
    log_prob = torch.cat([family.log_prob(x[whole]), incomplete])[order]
    return log_prob, lambda r: sums(r[gone]) + family.summarize(x[whole], r[whole])


def log_density(family: ReadsRows, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """The first half of `log_prob_and_sums`, some rows at a time, as all of them together might take much memory."""
    if not x.isnan().any():
        return family.log_prob(x)
    return torch.cat([log_prob_and_sums(family, part)[0] for part in x.split(family.block_rows)])


def observed_log_prob(component: Any, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """log p(seen cells | z = k) under independent columns, `Distribution.to_event(1)` of batch shape (k, d)."""
    cell = component.base_dist
    gone = x.isnan()
    # a legal value in place of what is missing: NaN would spoil the gradient of the cells beside it
    inside = (
        getattr(cell.support, "lower_bound", 0.0)
        if cell.support.is_discrete
        else transform_to(cell.support)(x.new_zeros(()))
    )
    log_prob = cell.log_prob(torch.where(gone.unsqueeze(-2), inside, x.unsqueeze(-2)))
    return torch.where(gone.unsqueeze(-2), 0.0, log_prob).sum(-1)


class ObservedValues(TorchDistribution):
    """p(seen cells of a row | z), of rows with NaN where a cell is missing: what `component(z)` is to whole ones."""

    arg_constraints = {}  # type: ignore[reportIncompatibleMethodOverride,reportAssignmentType]  # noqa: RUF012

    def __init__(self, family: ReadsRows, z: Tensor):
        self.family, self.z = family, z
        super().__init__(z.shape, torch.Size([family.features]), validate_args=False)

    @property
    def support(self) -> Any:  # type: ignore[override]
        """That of whole rows, which says what kind of numbers the columns hold."""
        component: Any = self.family.component(self.z)
        return component.support

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of the seen cells of rows (n, d) under z (..., n), or (..., 1)."""
        log_prob = log_density(self.family, value)  # (n, k)
        z = self.z.expand(torch.broadcast_shapes(self.z.shape, value.shape[:1]))
        return log_prob.expand(*z.shape, -1).gather(-1, z.unsqueeze(-1)).squeeze(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 (torch's signature)
        """Whole rows."""
        drawn: Any = self.family.component(self.z)
        return drawn.sample(sample_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ObservedValues:
        """The same for more z."""
        return ObservedValues(self.family, self.z.expand(batch_shape))
