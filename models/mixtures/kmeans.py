"""k-means: hard assignment to the nearest centre, as the mixture it is a limit of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...data.moments import Moments
from ..contract import Statistics
from ..families.gaussian import Gaussian
from ..kernels.compiled.sizes import COMPONENTS, STATISTICS, padded
from ..kernels.parallel_rows import add_parts, can_compile, run_in_parts
from .e_step import allowed
from .mixture import Mixture

BLOCK_CELLS = 1 << 21  # of rows less centres, looked at together where that is not compiled
SHARP = 1e-9  # how much of the least distance of two centres rounding may take before distances are taken one by one
LEAST_SCALE = 1e-12  # of the data's spread: where every row is a centre


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
    constants = ("weights",)

    def __init__(self, components: int, features: int):
        super().__init__(Gaussian(components, features, "tied-spherical"))
        self.weights_unconstrained.requires_grad_(False)  # equal, and not to be learnt

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weights" and "weights_unconstrained" in self._parameters:
            raise ValueError("the weights of KMeans are equal: for others take GaussianMixture(k, d, 'tied-spherical')")
        super().__setattr__(name, value)

    @property
    def takes_missing(self) -> bool:
        """It does not: GaussianMixture(k, d, "tied-spherical") does."""
        return False

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
        return self.expect(x, weights).distortion

    def objective(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """log p(x, z) at the nearest centre, differentiable in the parameters."""
        x = self._table(x)
        return self._log_joint(x, self._known(labels, len(x))).amax(-1)

    # the two steps

    @torch.no_grad()
    def prepare(self) -> None:
        """Compile what the assignment needs, or load it, so that this takes no time later."""
        if can_compile(rows := torch.zeros_like(self.loc)):
            Nearest(rows).assigned(rows, None, None)

    @torch.no_grad()
    def expect(
        self, x: Any, weights: Any = None, labels: Any = None, dtype: torch.dtype | None = None
    ) -> HardStatistics:
        """Assign each row to the nearest centre (or where its label says) and sum what leads from there to the row: in
        float64, whatever the dtype, since nearly equal distances are told apart."""
        rows, weights, labels = self._summed(x, weights, labels)
        labels = None if labels is None or bool((labels < 0).all()) else labels  # none known: to the bit as without
        nearest = Nearest(self.loc.detach())
        if nearest.sharp and can_compile(rows):
            return self._possible(x, self._statistics(*nearest.assigned(rows, weights, labels)))
        size = max(256, BLOCK_CELLS // self.loc.numel()) if rows.is_cpu else max(1, len(rows))
        blocks = [slice(start, start + size) for start in range(0, max(1, len(rows)), size)]

        def some(part: Tensor | None, block: slice) -> Tensor | None:
            return None if part is None else part[block]

        parts = [self._assign(nearest, rows[block], some(weights, block), some(labels, block)) for block in blocks]
        return self._possible(x, HardStatistics.of(parts))

    @torch.no_grad()
    def maximize(self, statistics: Statistics, length: float = 1.0) -> None:
        """Centres to the means of their rows, scale^2 to the mean squared distance of a cell. Of the rows furthest from
        their centres, each empty cluster takes one, which leaves its own. Frozen centres stay."""
        if not isinstance(statistics, HardStatistics):
            raise TypeError(f"got {type(statistics).__name__}, expected the HardStatistics of KMeans.expect")
        weight, total, distortion = statistics.weight.clone(), statistics.total.clone(), statistics.distortion
        centres = self.loc.detach().clone()
        empty = (weight == 0).nonzero().squeeze(1).tolist()
        frozen = self.family.is_frozen("loc")
        for i in statistics.squared.argsort(descending=True).tolist() if empty and not frozen else []:
            old, row, own = int(statistics.cluster[i]), statistics.rows[i], statistics.row_weight[i]
            if not empty or statistics.squared[i] <= 0 or not 0 < own < weight[old]:
                continue
            new = empty.pop(0)
            weight[old], total[old] = weight[old] - own, total[old] - own * (row - centres[old])
            weight[new], centres[new] = own, row
            distortion = distortion - own * statistics.squared[i]
        step = total / weight.clamp(min=torch.finfo(weight.dtype).tiny).unsqueeze(1)
        if not frozen:
            self.loc = centres + step
            distortion = distortion - weight @ step.square().sum(1)  # the mean is nearer to its rows than other points
        cells = statistics.total_weight * centres.shape[1]
        least = (LEAST_SCALE * self.family.unit.mean()) ** 2  # type: ignore[operator]
        if not self.family.is_frozen("scale"):
            self.family.scale = (distortion / cells).clamp(min=least).sqrt()  # type: ignore[assignment]

    @property
    def has_expected_log_joint(self) -> bool:
        """No: its sums are of the ways from the centres."""
        return False

    def remeasure(self, statistics: Statistics) -> Statistics:
        """Raises TypeError: sums of whole rows jump as a row changes sides, and lead nowhere between two passes."""
        raise TypeError(
            "KMeans sends each row to one centre, so that its statistics jump and have no averages or directions, as "
            "online or accelerated EM expects: fit it with EM(), which ends after finitely many passes"
        )

    def summary(
        self, columns: Iterable[str] | None = None, levels: Sequence[Sequence[str] | None] | None = None
    ) -> pd.DataFrame:
        """The centres, in the order of their first column, and the standard deviation that all share."""
        return super().summary(columns, levels).drop(columns="weight")

    def check(self) -> None:
        """Nothing to find: clusters of one row each are a distortion of 0, not a failure."""

    # inside

    def _assign(self, nearest: Nearest, x: Tensor, weights: Tensor | None, labels: Tensor | None) -> HardStatistics:
        """`expect` of one block of rows."""
        cluster, centres = nearest.of(x), nearest.centres
        if labels is not None:
            cluster = torch.where(labels >= 0, labels, cluster)
        away = x - centres.index_select(0, cluster)
        w = torch.ones_like(x[:, 0]) if weights is None else weights
        total = torch.zeros_like(centres).index_add_(0, cluster, away * w[:, None])
        squared = away.square().sum(1)
        free = torch.arange(len(x), device=x.device) if labels is None else (labels < 0).nonzero().squeeze(1)
        top = free[squared[free].topk(min(len(centres), len(free))).indices]  # rows whose component is known stay there
        furthest = squared[top], x[top], w[top], cluster[top]
        return self._statistics(
            torch.bincount(cluster, w, minlength=len(centres)), total, w @ squared, w.sum(), *furthest
        )

    def _statistics(
        self, weight: Tensor, total: Tensor, distortion: Tensor, total_weight: Tensor, *furthest: Tensor
    ) -> HardStatistics:
        """What these sums and furthest rows say, and the bound: of rows at their centres, less what distances cost."""
        variance = self.family.scale.detach() ** 2  # type: ignore[operator]
        most = -math.log(len(weight)) - total.shape[1] / 2 * (2 * math.pi * variance).log()
        bound = most * total_weight - distortion / (2 * variance)
        return HardStatistics(weight, total, bound, total_weight, distortion, *furthest)

    def batch(self, rows: Any, generators: Any) -> None:
        """None: its restarts run in turn."""

    def _coordinates(self, x: Tensor, data: Moments) -> Tensor:
        return x - data.mean  # distances as the distortion has them

    def _logits(self, x: Tensor, labels: Tensor | None) -> Float[Tensor, "n k"]:
        nearest = self._log_joint(x, labels).argmax(-1)
        return allowed(nearest, self.family.components)


class Nearest:
    """Rows (n, d) to the nearest of the centres: where x . c - |c|^2 / 2 is largest, one matrix product, measured from
    the middle of the centres. Where rounding would tell two centres apart badly, distance by distance."""

    def __init__(self, centres: Float[Tensor, "k d"]):
        self.centres, self.middle = centres, centres.mean(0)
        self.c = c = centres - self.middle
        self.products = torch.cat([-0.5 * c.square().sum(1, keepdim=True), c], 1)  # (k, 1 + d)
        apart = torch.cdist(c, c, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
        apart = torch.where(apart > 0, apart, torch.inf).min()
        self.sharp = torch.finfo(c.dtype).eps * float(c.square().sum(1).max()) <= SHARP * float(apart) ** 2

    def of(self, x: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """The cluster of each, of equally near ones the first."""
        if not self.sharp:
            return torch.cdist(x, self.centres, compute_mode="donot_use_mm_for_euclid_dist").min(1).indices
        return (self.products[:, 1:] @ (x - self.middle).T).add_(self.products[:, :1]).argmax(0)

    def assigned(
        self, x: Float[Tensor, "n d"], weights: Float[Tensor, " n"] | None, labels: Int[Tensor, " n"] | None
    ) -> tuple[Tensor, ...]:
        """All that `HardStatistics` needs of rows on the CPU, but the bound, in its order, by the compiled pass: only
        where centres are `sharp`."""
        from ..kernels.compiled.kmeans_step import kmeans_step  # here: numba is slow to import

        k, d = self.centres.shape
        if x.shape[1] != d or (labels is not None and int(labels.max()) >= k):
            raise ValueError(f"got {x.shape[1]} columns, or labels beyond {k - 1}, expected {d} columns, and centres")
        coefficients = np.zeros((padded(k, COMPONENTS), padded(1 + d, STATISTICS)))
        coefficients[:k, : 1 + d] = self.products.numpy()
        given = self.middle.contiguous().numpy(), self.centres.contiguous().numpy(), coefficients
        memory = 3 + sum(coefficients.shape), torch.float64
        sums = ((k,), float), ((k, d), float), ((2,), float), ((k,), np.int64), ((k,), float), ((k,), np.int64)
        parts = run_in_parts(kmeans_step, x, weights, labels, given, memory, sums, coefficients.size + 4 * k + 16 * d)
        row = torch.from_numpy(np.concatenate([start + found[3] for start, found in parts]))
        squared, cluster = (torch.from_numpy(np.concatenate([found[i] for _, found in parts])) for i in (4, 5))
        squared, top = squared.topk(min(k, len(squared)))
        top, squared = top[squared >= 0], squared[squared >= 0]
        row = row[top]
        row_weight = torch.ones_like(squared) if weights is None else weights[row]
        weight, total, (distortion, total_weight) = map(
            torch.from_numpy, add_parts([(start, found[:3]) for start, found in parts])
        )
        return weight, total, distortion, total_weight, squared, x[row], row_weight, cluster[top]
