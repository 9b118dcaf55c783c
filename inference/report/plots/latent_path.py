"""Points along latent dimensions, and how the dimensions are labeled."""

from __future__ import annotations

import numpy as np
import torch

from .latent_means import LatentMeans


def points_along(latent: int, given: dict[int, np.ndarray]) -> torch.Tensor:
    """z (n, latent), 0 but in the dimensions given."""
    z = torch.zeros(len(next(iter(given.values()))), latent, dtype=torch.float64)
    for j, values in given.items():
        z[:, j] = torch.from_numpy(values)
    return z


def require_steps(steps: int, extent: float) -> None:
    if not isinstance(steps, int) or steps < 2:
        raise ValueError(f"steps is {steps!r}, expected a whole number of at least 2")
    if not 0 < extent < float("inf"):
        raise ValueError(f"extent is {extent!r}, expected standard deviations of the prior, such as 2.5")


def dimension_label(j: int, latents: LatentMeans | None) -> str:
    known = latents is not None and latents.kl is not None
    return f"dimension {j + 1}" + (f"\nKL {latents.kl[j]:.2g} nats" if known else "")  # type: ignore[reportOptionalSubscript, reportOptionalMemberAccess]
