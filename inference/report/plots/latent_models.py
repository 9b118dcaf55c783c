"""Models with a continuous latent variable: which they are, and what they decode."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....models.continuous.continuous_latent import centre, evaluating
from .drawn_rows import to_numpy

LATENT = ("decode", "transform", "reconstruct", "latent")  # what a model with a continuous latent has


def decode_distribution(model: Any, z: Tensor) -> Any:
    """p(x | z) for z of any precision and device."""
    own = next(model.parameters(), z)
    with torch.no_grad(), evaluating(model):
        return model.decode(z.to(own.device, own.dtype))


def decode_mean(model: Any, z: Tensor) -> np.ndarray:
    """The mean of p(x | z), of categories the likeliest."""
    return to_numpy(centre(decode_distribution(model, z)))


def with_continuous_latent(models: dict[str, Any]) -> dict[str, Any]:
    """Those with a continuous latent."""
    return {name: model for name, model in models.items() if all(hasattr(model, method) for method in LATENT)}


def require_continuous_latent(model: Any, wanted: str) -> None:
    """Raise TypeError for a model without a continuous latent."""
    lacks = [name for name in LATENT if not hasattr(model, name)]
    if lacks:
        raise TypeError(
            f"{wanted} needs a model with a continuous latent, which has `{lacks[0]}`, got a {type(model).__name__}: "
            "pass a PPCA or a VAE, such as fit(...).model"
        )
