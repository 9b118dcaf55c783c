"""Distributions as their parameters: to take some rows of one, to give it another shape, or to move it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal


def parameters_of(q: Distribution) -> dict[str, Tensor]:
    """The parameters that q was made of, each expanded to the batch shape of q. Raises TypeError where q does not tell
    them."""
    if isinstance(q, Independent):
        return parameters_of(q.base_dist)
    if isinstance(q, MultivariateNormal):  # made of one of three matrices
        return {"loc": q.loc, "scale_tril": q.scale_tril}
    names = [name for name in q.arg_constraints if name in vars(q)]  # of those that stand for each other, the given
    if not names:
        raise TypeError(f"got a {type(q).__name__}, which tells no parameters, expected a distribution such as Normal")
    return {name: getattr(q, name) for name in names}


def rebuilt(q: Distribution, parameters: Mapping[str, Tensor]) -> Distribution:
    """A distribution of the family of q with other parameters."""
    if isinstance(q, Independent):
        return dist.Independent(rebuilt(q.base_dist, parameters), q.reinterpreted_batch_ndims)
    kind: Any = type(q)
    return kind(**parameters, validate_args=False)
