"""k-means: hard assignment to the nearest centre, as the mixture it is a limit of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ...data.moments import Moments
from ..contract import Statistics
from ..families.gaussian import Gaussian
from ..kernels.parallel_rows import can_compile
from .e_step import allowed
from .hard_statistics import HardStatistics
from .mixture import Mixture
from .nearest_centre import Nearest

BLOCK_CELLS = 1 << 21  # of rows less centres, looked at together where that is not compiled

LEAST_SCALE = 1e-12  # of the data's spread: where every row is a centre


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
