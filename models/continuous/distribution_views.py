"""Distributions as their parameters: read them, change the shape of the batch, or take a centre."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal


def parameters_of(q: Distribution) -> dict[str, Tensor]:
    """The parameters that q was made of, each expanded to the batch shape of q.

    Raises TypeError if q does not tell them.
    """
    if isinstance(q, Independent):
        return parameters_of(q.base_dist)
    if isinstance(q, MultivariateNormal):  # made from one of three matrices
        return {"loc": q.loc, "scale_tril": q.scale_tril}
    names = [name for name in q.arg_constraints if name in vars(q)]  # such as probs or logits: the one that was given
    if not names:
        raise TypeError(
            f"got a {type(q).__name__}, which does not tell its parameters, expected a distribution such as Normal"
        )
    return {name: vars(q)[name] for name in names}


def rebuilt(q: Distribution, parameters: Mapping[str, Tensor]) -> Distribution:
    """A distribution of the same kind as q with other parameters."""
    if isinstance(q, Independent):
        return dist.Independent(rebuilt(q.base_dist, parameters), q.reinterpreted_batch_ndims)
    kind: Any = type(q)
    return kind(**parameters, validate_args=False)


def mean_or_mode(distribution: Distribution) -> Tensor:
    """The mean; for categories, which have no mean, the most probable one."""
    mean = distribution.mean
    return distribution.mode.to(mean.dtype) if torch.isnan(mean).any() else mean
