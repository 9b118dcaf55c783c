"""The sums of a hard assignment, and the rows furthest from their centres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contract import Statistics


@dataclass(frozen=True)
class HardStatistics(Statistics):
    """The sums of a hard assignment, and the k rows furthest from their centres, to which empty clusters move.

    total: (k, d) sums of row minus centre. distortion: () sum of row weight times squared distance to the centre.
    rows (m, d) of weights (m,), in clusters (m,), at squared distances (m,) from their centres, m <= k: those of two
    parts merge by the largest distances.
    """

    distortion: Float[Tensor, ""]
    squared: Float[Tensor, " m"]
    rows: Float[Tensor, "m d"]
    row_weight: Float[Tensor, " m"]
    cluster: Int[Tensor, " m"]

    def __add__(self, other: Statistics) -> HardStatistics:
        if not isinstance(other, HardStatistics):
            return NotImplemented
        return HardStatistics.of([self, other])

    @classmethod
    def of(cls, parts: Sequence[HardStatistics]) -> HardStatistics:
        """Of several parts together."""
        found = {f.name: [getattr(part, f.name) for part in parts] for f in fields(cls)}
        sums = {name: torch.stack(each).sum(0) for name, each in found.items() if name not in _FURTHEST}
        squared = torch.cat(found["squared"])
        top = squared.topk(min(len(parts[0].weight), len(squared))).indices
        return cls(**sums, **{name: torch.cat(found[name])[top] for name in _FURTHEST})


_FURTHEST = ("squared", "rows", "row_weight", "cluster")
