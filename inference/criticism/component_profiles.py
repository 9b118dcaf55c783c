"""The components of one fitted model for tables and pictures: profiles, shares of the rows, means and covariances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.distributions import Categorical

from ...data.moments import Moments
from ...models import Family, Profile, Rows
from ...models.abilities import HasFamily


def component_profiles(model: Any) -> list[Profile]:
    """The numbers that describe each component, see `Profile`. Empty for a model without components."""
    family = _family_of(model)
    with torch.no_grad():
        return [] if family is None else family.profiles()


def component_shares(model: Any, rows: Rows) -> list[float]:
    """The mean of p(z = k | x) over the rows, or over a sample of many. Empty for a latent that is not categorical."""
    chunk = rows.sample(torch.Generator().manual_seed(0))
    posterior = model.posterior(chunk.x)
    if not isinstance(posterior, Categorical):
        return []
    weights = torch.ones(len(chunk.x), dtype=torch.float64) if chunk.weights is None else chunk.weights
    return (weights @ posterior.probs.double() / weights.sum()).tolist()


def numeric_columns(model: Any, columns: int) -> list[int]:
    """The columns that hold numbers, not categories. All of them for a model without components."""
    levels = {j for profile in component_profiles(model) if profile.levels is not None for j in profile.columns}
    return [j for j in range(columns) if j not in levels]


def component_moments(model: Any, columns: Sequence[int]) -> Moments | None:
    """Means (k, d) and covariances (k, d, d) of the components in d columns, None if they are not finite."""
    family = _family_of(model)
    if family is None:
        return None
    try:
        with torch.no_grad():
            all_columns, index = family.moments(), torch.as_tensor(columns, dtype=torch.long)
    except NotImplementedError:  # torch raises this for a distribution without a mean
        return None
    moments = Moments(all_columns.mean[:, index], all_columns.covariance[:, index][:, :, index])
    finite = torch.isfinite(moments.mean).all() and torch.isfinite(moments.covariance).all()
    return moments if finite else None


def _family_of(model: Any) -> Family | None:
    return model.family if isinstance(model, HasFamily) and isinstance(model.family, Family) else None
