"""The statistics of k-means: sums of a hard assignment, and the rows furthest from their centres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contract import Statistics


@dataclass(frozen=True)
class HardStatistics(Statistics):
    """The sums of a hard assignment, and the m <= k rows furthest from their centres, to which empty clusters move.

    Statistics of two parts of a table add: the sums add, and the k rows of the largest distances stay.

    Args:
        weight: (k,) the row weight of each cluster.
        total: (k, d) sums over its rows of row weight times (row - centre).
        bound: () sum of row weight times the bound of each row, in nats.
        total_weight: () sum of the row weights.
        distortion: () sum of row weight times squared distance to the centre, in squared units of the data.
        squared: (m,) squared distances of the furthest rows.
        rows: (m, d) the furthest rows.
        row_weight: (m,) their weights.
        cluster: (m,) their clusters.
    """

    distortion: Float[Tensor, ""]
    squared: Float[Tensor, " m"]
    rows: Float[Tensor, "m d"]
    row_weight: Float[Tensor, " m"]
    cluster: Int[Tensor, " m"]

    def __add__(self, other: Statistics) -> HardStatistics:
        if not isinstance(other, HardStatistics):
            return NotImplemented
        return HardStatistics.merge([self, other])

    @classmethod
    def merge(cls, parts: Sequence[HardStatistics]) -> HardStatistics:
        """The statistics of all parts of a table together."""
        found = {f.name: [vars(part)[f.name] for part in parts] for f in fields(cls)}
        sums = {name: torch.stack(each).sum(0) for name, each in found.items() if name not in _FURTHEST}
        squared = torch.cat(found["squared"])
        top = squared.topk(min(len(parts[0].weight), len(squared))).indices
        return cls(**sums, **{name: torch.cat(found[name])[top] for name in _FURTHEST})


_FURTHEST = ("squared", "rows", "row_weight", "cluster")
