"""Models with a continuous latent variable: which ones have it, and what they decode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....models.abilities import HasContinuousLatent, is_module
from ....models.continuous.distribution_views import mean_or_mode
from ....models.continuous.networks import evaluation_mode
from ...fitting.fit_arguments import require_model
from .drawn_rows import to_numpy


def decode_distribution(model: HasContinuousLatent, z: Tensor) -> Any:
    """p(x | z), for z of any precision and device."""
    own = next(model.parameters(), z) if is_module(model) else z
    with torch.no_grad(), evaluation_mode(model):
        return model.decode(z.to(own.device, own.dtype))


def decode_mean(model: HasContinuousLatent, z: Tensor) -> np.ndarray:
    """The mean of p(x | z); for categories the most probable one."""
    return to_numpy(mean_or_mode(decode_distribution(model, z)))


def with_continuous_latent(models: Mapping[str, Any]) -> dict[str, HasContinuousLatent]:
    """The models with a continuous latent variable, by name."""
    return {name: model for name, model in models.items() if isinstance(model, HasContinuousLatent)}


def require_continuous_latent(model: Any, function: str) -> None:
    """Raise TypeError for a model without a continuous latent variable, and for what is no model."""
    require_model(model)
    if not isinstance(model, HasContinuousLatent):
        raise TypeError(
            f"{function} needs a model with a continuous latent variable, got a {type(model).__name__}: pass a PPCA or "
            "a VAE, such as fit(...).model"
        )
