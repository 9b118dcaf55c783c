"""Posterior means of rows in a continuous latent space, and which dimensions are in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ....models.continuous.continuous_latent import divergence
from ...criticism.gap_report import ACTIVE
from .drawn_rows import to_numpy


@dataclass(frozen=True)
class LatentMeans:
    """Posterior means (n, q) of rows, and the mean KL(q(z_j | x) || p(z_j)) (q,) of each dimension, if known, nats."""

    means: np.ndarray
    kl: np.ndarray | None

    @classmethod
    def of(cls, model: Any, x: torch.Tensor) -> LatentMeans:
        """Those that a model has of these rows."""
        posterior = model.posterior(x)
        apart = divergence(posterior)
        known = apart is not None and apart.shape[1] == model.latent
        return cls(to_numpy(posterior.mean), to_numpy(apart).mean(0) if apart is not None and known else None)

    @property
    def activity(self) -> np.ndarray:
        """(q,) how much the posterior means of the rows differ: their variance, of at most about 1."""
        return self.means.var(0)

    @property
    def order(self) -> list[int]:
        """The dimensions, the most active first."""
        return np.argsort(-self.activity, kind="stable").tolist()

    @property
    def shown(self) -> list[int]:
        """The two most active dimensions; the only two in their own order."""
        return sorted(self.order[:2]) if self.means.shape[1] == 2 else self.order[:2]

    @property
    def used(self) -> int:
        """How many dimensions tell rows apart (Burda, Grosse & Salakhutdinov 2016)."""
        return int((self.activity > ACTIVE).sum())

    def name(self, j: int) -> str:
        """What dimension j is called on an axis."""
        return f"latent dimension {j + 1}" + ("" if self.kl is None else f" (KL {self.kl[j]:.2g} nats)")


def require_dimensions(model: Any, dimensions: Sequence[int], exactly: int | None = None) -> list[int]:
    """The latent dimensions named. Raises ValueError for others than there are, or another number of them."""
    found = [int(j) for j in dimensions]
    wrong = [j for j in found if not 0 <= j < model.latent]
    if wrong or not found or len(set(found)) < len(found) or exactly not in (None, len(found)):
        count = "some" if exactly is None else str(exactly)
        raise ValueError(
            f"dimensions is {found}, expected {count} of 0 to {model.latent - 1}, each once: they count from 0, as the "
            "columns of transform(x) do"
        )
    return found
