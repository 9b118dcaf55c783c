"""k-means: hard assignment to the nearest centre, as the mixture it is a limit of."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .base import Statistics
from .estep import allowed, sum_blocks
from .gaussian import Gaussian
from .mixture import Mixture
from .rows import Moments


@dataclass(frozen=True)
class HardStatistics(Statistics):
    """The sums of a hard assignment, and the k rows furthest from their centres, to which empty clusters move.

    distortion: () sum of row weight times squared distance to the centre. rows (m, d) of weights (m,), in clusters
    (m,), at squared distances (m,) from their centres: merged by the largest distances, m <= k.
    """

    distortion: Float[Tensor, ""]
    squared: Float[Tensor, " m"]
    rows: Float[Tensor, "m d"]
    row_weight: Float[Tensor, " m"]
    cluster: Int[Tensor, " m"]

    def __add__(self, other: Statistics) -> HardStatistics:
        if not isinstance(other, HardStatistics):
            return NotImplemented
        sums = super().__add__(other)
        both = [torch.cat([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)[5:]]
        top = both[0].topk(min(len(self.weight), len(both[0]))).indices
        return HardStatistics(
            sums.weight, sums.total, sums.bound, sums.total_weight, self.distortion + other.distortion,
            *(part[top] for part in both),
        )  # fmt: skip


class KMeans(Mixture):
    """k centres, each row going to the nearest: a mixture of k equally likely Gaussians of one spherical variance whose
    guide is not the posterior but its largest component.

    The bound of a row is log(1 / k) + log N(x; nearest centre, scale^2 I), below log p(x) by what a row's other
    components hold. `fit(KMeans(3, 4), x, EM(), restarts=10)` alternates the two steps of k-means: assign, and move the
    centres to the means of their rows (with scale^2 = distortion / (rows * columns)); each lowers the distortion.
    Centres: `loc` (k, d). An empty cluster takes the row furthest from its centre. MacQueen (1967); Lloyd (1982);
    as classification EM, Celeux & Govaert, Computational Statistics & Data Analysis 14 (1992), 315-332.
    """

    softness = 0.0

    def __init__(self, components: int, features: int):
        super().__init__(Gaussian(components, features, "tied-spherical"))
        self.weights_unconstrained.requires_grad_(False)  # equal, and not to be learnt

    @property
    def loc(self) -> Float[Tensor, "k d"]:
        """The centres."""
        return self.family.loc  # type: ignore[return-value]

    @loc.setter
    def loc(self, value: Any) -> None:
        self.family.loc = value

    @torch.no_grad()
    def distortion(self, x: Any, weights: Any = None) -> Float[Tensor, ""]:
        """J: the sum over rows of the squared distance to the nearest centre, in squared units of the data."""
        statistics = self.expect(x, weights)
        return statistics.distortion

    def objective(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """log p(x, z) at the nearest centre, differentiable in the parameters."""
        x = self._table(x)
        return self._log_joint(x, self._known(labels, len(x))).amax(-1)

    @torch.no_grad()
    def expect(self, x: Any, weights: Any = None, labels: Any = None) -> HardStatistics:
        """Assign each row to the nearest centre and sum the rows of each."""
        rows, weights, labels = self._summed(x, weights, labels)
        k, d = self.loc.shape
        found = _Furthest(k, d)
        sums = self._possible(x, sum_blocks(self.family, self.weights.log(), rows, weights, labels, found.look))
        # log(1 / k) - d / 2 log(2 pi scale^2) - distance^2 / (2 scale^2)
        variance = self.family.scale.detach() ** 2  # type: ignore[operator]
        nearest = -torch.as_tensor(k).double().log() - d / 2 * (2 * torch.pi * variance).log()
        far = found.kept()
        distortion = 2 * variance * (nearest * sums.total_weight - sums.bound)
        squared = (2 * variance * (nearest - far[0])).clamp(min=0)
        return HardStatistics(
            sums.weight, sums.total, sums.bound, sums.total_weight, distortion.clamp(min=0), squared, *far[1:]
        )

    @torch.no_grad()
    def maximize(self, statistics: Statistics, length: float = 1.0) -> None:
        """Centres to the means of their rows, scale^2 to the mean squared distance of a cell. Of the rows furthest from
        their centres, each empty cluster takes one, which leaves its own."""
        if not isinstance(statistics, HardStatistics):
            raise TypeError(f"got {type(statistics).__name__}, expected the HardStatistics of KMeans.expect")
        weight, total = statistics.weight.clone(), statistics.total.clone()
        empty = (weight == 0).nonzero().squeeze(1).tolist()
        for i in statistics.squared.argsort(descending=True).tolist() if empty else []:
            old, row, own = int(statistics.cluster[i]), statistics.rows[i], statistics.row_weight[i]
            if not empty or statistics.squared[i] <= 0 or weight[old] <= own:
                continue
            new = empty.pop(0)
            for cluster, sign in ((old, -1), (new, 1)):
                from_origin = row - self.family.origin[cluster]  # type: ignore[reportIndexIssue]
                weight[cluster] += sign * own
                total[cluster] += sign * own * self.family.statistics(from_origin.unsqueeze(0))[0]
        self.family.maximize(weight, total)

    def free_parameters(self) -> int:
        """The centres and the scale."""
        return self.family.free_parameters()

    def check(self) -> None:
        """Nothing to find: clusters of one row each are a distortion of 0, not a failure."""

    # inside

    def _coordinates(self, x: Tensor, data: Moments) -> Tensor:
        return x - data.mean  # distances as the distortion has them

    def _weigh(self, counts: Tensor) -> None:
        """The weights stay equal."""

    def _logits(self, x: Tensor, labels: Tensor | None) -> Float[Tensor, "n k"]:
        nearest = self._log_joint(x, labels).argmax(-1)
        return allowed(nearest, self.family.components)


class _Furthest:
    """The rows least likely in their component, as many as there are components."""

    def __init__(self, k: int, d: int):
        empty = torch.zeros(0, dtype=torch.float64)
        self.k = k
        self.parts = [empty, empty.reshape(0, d), empty, torch.zeros(0, dtype=torch.long)]

    def look(self, x: Tensor, best: Tensor, evidence: Tensor, weights: Tensor | None) -> None:
        """See some rows (n, d), their components, bounds and weights (all (n,))."""
        index = evidence.topk(min(self.k, len(evidence)), largest=False).indices
        own = torch.ones_like(evidence[index]) if weights is None else weights[index]
        new = [evidence[index], x[index], own, best[index]]
        both = [torch.cat(pair) for pair in zip(self.parts, new, strict=True)]
        top = both[0].topk(min(self.k, len(both[0])), largest=False).indices
        self.parts = [part[top] for part in both]

    def kept(self) -> list[Tensor]:
        """Their bounds, the rows, their weights and components."""
        return self.parts
