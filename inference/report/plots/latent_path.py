"""Points along latent dimensions, the labels of dimensions, and checks of steps and extent."""

from __future__ import annotations

import numpy as np
import torch

from .latent_means import LatentMeans


def points_along(latent: int, given: dict[int, np.ndarray]) -> torch.Tensor:
    """z (n, latent) with these values (n,) in some dimensions and 0 in the others."""
    z = torch.zeros(len(next(iter(given.values()))), latent, dtype=torch.float64)
    for j, values in given.items():
        z[:, j] = torch.from_numpy(values)
    return z


def require_steps(steps: int, extent: float) -> None:
    """Raise ValueError unless steps is at least 2 and extent is positive and finite."""
    if not isinstance(steps, int) or steps < 2:
        raise ValueError(f"steps is {steps!r}, expected a whole number of at least 2")
    if not 0 < extent < float("inf"):
        raise ValueError(f"extent is {extent!r}, expected standard deviations of the prior, such as 2.5")


def dimension_label(j: int, latents: LatentMeans | None) -> str:
    """The label of dimension j, with its KL on a second line if known."""
    kl = None if latents is None else latents.kl
    return f"dimension {j + 1}" + ("" if kl is None else f"\nKL {kl[j]:.2g} nats")
