"""The joint distribution of groups of columns, each with its own distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints


class JointDistribution(TorchDistribution):
    """Independent distributions, each over a group of the columns of one row."""

    arg_constraints = {}  # type: ignore[reportIncompatibleMethodOverride,reportAssignmentType]  # noqa: RUF012

    def __init__(self, parts: Sequence[Any], columns: Sequence[Sequence[int]]):
        self.parts, self.columns = list(parts), [list(group) for group in columns]
        width = sum(map(len, self.columns))
        super().__init__(self.parts[0].batch_shape, torch.Size([width]), validate_args=False)

    @property
    def support(self) -> Columns:  # type: ignore[override]
        """What each group allows."""
        return Columns([part.support for part in self.parts], self.columns)

    def log_prob(self, value: Tensor) -> Tensor:
        """Sum of the groups' log densities."""
        pairs = zip(self.parts, self.columns, strict=True)
        return torch.as_tensor(sum(part.log_prob(value[..., group]) for part, group in pairs))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 (torch's signature)
        """Each group drawn by itself."""
        drawn = [part.sample(sample_shape) for part in self.parts]
        out = torch.empty(*drawn[0].shape[:-1], *self.event_shape, dtype=torch.float64)
        for value, group in zip(drawn, self.columns, strict=True):
            out[..., group] = value.to(out.dtype)
        return out

    def expand(self, batch_shape: Any, _instance: Any = None) -> JointDistribution:
        """The same with more batch dimensions."""
        return JointDistribution([part.expand(batch_shape) for part in self.parts], self.columns)


class Columns(constraints.Constraint):
    """Rows whose groups of columns each satisfy a constraint."""

    event_dim = 1

    def __init__(self, parts: Sequence[Any], columns: Sequence[Sequence[int]]):
        self.parts, self.columns = list(parts), [list(group) for group in columns]

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        """Whether all columns are discrete."""
        return all(part.is_discrete for part in self.parts)

    def check(self, value: Tensor) -> Tensor:
        """Whether each row of value (..., d) satisfies all: (...)."""
        pairs = zip(self.parts, self.columns, strict=True)
        return torch.stack([part.check(value[..., group]) for part, group in pairs]).all(0)
