"""The posterior means of rows in a continuous latent space, and which dimensions are active."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ....models.continuous.draws import kl_to_prior
from ...criticism.gap_report import ACTIVE
from .drawn_rows import to_numpy


@dataclass(frozen=True)
class LatentMeans:
    """Posterior means (n, q) of rows, and the mean over rows of KL(q(z_j | x) || p(z_j)), (q,) in nats, if known."""

    means: np.ndarray
    kl: np.ndarray | None

    @classmethod
    def of(cls, model: Any, x: torch.Tensor) -> LatentMeans:
        """Compute them for these rows under a model."""
        posterior = model.posterior(x)
        kl = kl_to_prior(posterior)
        by_dimension = kl is not None and kl.shape[1] == model.latent
        return cls(to_numpy(posterior.mean), to_numpy(kl).mean(0) if kl is not None and by_dimension else None)

    @property
    def activity(self) -> np.ndarray:
        """(q,) the variance over rows of the posterior means, at most about 1."""
        return self.means.var(0)

    @property
    def order(self) -> list[int]:
        """The dimensions, the most active first."""
        return np.argsort(-self.activity, kind="stable").tolist()

    @property
    def shown(self) -> list[int]:
        """The two most active dimensions, the more active first; if there are only two, dimensions 0 and 1."""
        return sorted(self.order[:2]) if self.means.shape[1] == 2 else self.order[:2]

    @property
    def used(self) -> int:
        """The number of active dimensions (Burda, Grosse & Salakhutdinov, 2016)."""
        return int((self.activity > ACTIVE).sum())

    def label(self, j: int) -> str:
        """The label of dimension j on an axis."""
        return f"latent dimension {j + 1}" + ("" if self.kl is None else f" (KL {self.kl[j]:.2g} nats)")


def require_dimensions(model: Any, dimensions: Sequence[int], exactly: int | None = None) -> list[int]:
    """Check latent dimensions. Raises ValueError for one that does not exist, and for a wrong number of them."""
    found = [int(j) for j in dimensions]
    wrong = [j for j in found if not 0 <= j < model.latent]
    if wrong or not found or len(set(found)) < len(found) or exactly not in (None, len(found)):
        count = "some" if exactly is None else str(exactly)
        raise ValueError(
            f"dimensions is {found}, expected {count} of 0 to {model.latent - 1}, each once: they count from 0, as the "
            "columns of transform(x) do"
        )
    return found
