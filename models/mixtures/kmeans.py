"""k-means: a mixture of equal spherical Gaussians, with each row assigned to its nearest centre.

Longer than 300 lines because each method of a mixture, which is soft, is another one here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ...data.chunk import Chunk
from ...data.moments import Moments
from ...data.rows import Rows
from ..contract import Statistics
from ..families.gaussian import Gaussian
from ..kernels.parallel_rows import can_compile
from ..module import on_the_cpu
from .e_step import label_log_mask
from .hard_statistics import HardStatistics
from .kmeans_ahead import LEAST_SCALE, KMeansAhead, compile_kernels, draw_centres
from .mixture import Mixture
from .nearest_centre import NearestCentre

BLOCK_DIFFERENCES = 1 << 21  # n k d, the numbers in the differences of a block of rows and all centres
PARAMETERS = ("loc", "scale")


class KMeans(Mixture):
    """k-means: the centres that minimize the sum over rows of the squared distance to the nearest centre.

    It is a mixture of k Gaussians with equal weights and one spherical variance. Its guide is not the posterior: it
    assigns each row to the component of the nearest centre. The bound of a row is log(1 / k) + log N(x; nearest centre,
    scale^2 I), which is below log p(x) because it leaves out the other components.

    `fit(KMeans(3, 4), x, EM(), restarts=10)` alternates the two steps of k-means: assign the rows, and move each centre
    to the mean of its rows, with scale^2 = distortion / (rows * columns). Each step lowers the distortion or leaves it.
    An empty cluster takes the row furthest from its centre.

    Parameters: `loc` (k, d), the centres, and `family.scale` (), a standard deviation, both in the units of the data.
    The weights are 1 / k and stay.

    Args:
        components: k, the number of centres.
        features: d, the number of columns of x.

    Raises:
        ValueError: components or features is not a whole number of at least 1.

    Example:
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import KMeans
        >>> x = [[0.0], [2.0], [20.0], [22.0]]
        >>> model = fit(KMeans(components=2, features=1), x, EM()).model
        >>> sorted(model.loc.flatten().detach().round(decimals=3).tolist()), round(model.distortion(x).item(), 3)
        ([1.0, 21.0], 4.0)

    References:
        Lloyd, IEEE Transactions on Information Theory 28 (1982), 129-137. As classification EM: Celeux and Govaert,
        Computational Statistics & Data Analysis 14 (1992), 315-332.
    """

    softness = 0.0
    constants = ("weights",)

    def __init__(self, components: int, features: int):
        super().__init__(Gaussian(components, features, "tied-spherical"))
        self.weights_unconstrained.requires_grad_(False)  # they are equal by definition

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weights" and "weights_unconstrained" in self._parameters:
            raise ValueError(
                "the weights of KMeans are equal: for other weights use GaussianMixture(k, d, 'tied-spherical')"
            )
        super().__setattr__(name, value)

    @property
    def takes_missing(self) -> bool:
        """False: KMeans takes no missing values. GaussianMixture(k, d, "tied-spherical") does."""
        return False

    @property
    def loc(self) -> Float[Tensor, "k d"]:
        """The centres, (k, d), in the units of the data: the parameter `family.loc`."""
        return self.family.loc  # type: ignore[return-value]

    @loc.setter
    def loc(self, value: Any) -> None:
        self.family.loc = value

    @torch.no_grad()
    def distortion(self, x: Any, weights: Any = None) -> Float[Tensor, ""]:
        """The sum over rows of row weight times the squared distance to the nearest centre.

        Args:
            x: (n, d) rows.
            weights: (n,) row weights, or None for ones.

        Returns:
            A number, in squared units of the data. scikit-learn calls it inertia.

        Raises:
            ArithmeticError: A row is so far from all centres (1e154) that its squared distance is beyond the largest
                number.

        Example:
            >>> from lowerbound.models import KMeans, seed
            >>> x = [[0.0], [2.0], [20.0]]
            >>> model = seed(KMeans(components=2, features=1), x)
            >>> model.loc = [[1.0], [20.0]]
            >>> model.distortion(x).item()
            2.0
        """
        return self.expect(x, weights).distortion

    def objective(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """log p(x, z) of each row in nats, (n,), with z the nearest centre: differentiable in the parameters and in x.

        Args:
            x: (n, d) rows.
            labels: (n,) known components, -1 where unknown, or None.
        """
        x = self._checked_table(x)
        return self._log_joint(x, self._checked_labels(labels, len(x))).amax(-1)

    # the two steps

    @on_the_cpu
    @torch.no_grad()
    def initialize(self, x: Any, weights: Any, generator: torch.Generator, redraw: bool = True) -> None:
        """Learn the names and units of the data, then draw starting parameters: centres by k-means++, and one step.

        Args:
            x: (n, d) rows, as `fit` takes them.
            weights: (n,) row weights, or None for ones.
            generator: What the start is drawn from.
            redraw: False keeps parameters that are already set.

        Raises:
            ValueError: As in `Mixture.initialize`.
        """
        kept = any(self.family.is_frozen(name) or (not redraw and name in self.family.names_set) for name in PARAMETERS)
        if kept:
            return super().initialize(x, weights, generator, redraw)
        rows, moments = self._rows_to_fit(x, weights)
        sample = rows.sample(generator)
        centres = draw_centres(sample, moments.mean, len(self.loc), generator)
        self.family.set_units(centres, moments)
        self.step_from(centres, sample)
        return None

    @torch.no_grad()
    def step_from(self, centres: Float[Tensor, "k d"], sample: Chunk) -> None:
        """Set the parameters after one step from these centres with these rows: the start of a run.

        Args:
            centres: (k, d), in the units of the data.
            sample: Some rows, with their weights and labels.
        """
        self._set_parameters(centres, self.family.unit.mean())  # type: ignore[operator]
        self.maximize(self.expect(*sample.arguments))

    def passes_ahead(self, rows: Rows) -> KMeansAhead | None:
        """Passes of EM over a table in memory, many in one compiled call; None where another device, frozen parameters
        or the table do not allow it.

        Args:
            rows: The table.
        """
        frozen = any(self.family.is_frozen(name) for name in PARAMETERS)
        if frozen or rows.processes > 1 or not self.family.is_set:
            return None
        chunk = rows.whole
        if chunk is None or not (can_compile(self.family.loc_unconstrained) and can_compile(chunk.x)):
            return None
        return KMeansAhead(self, len(self.loc), *chunk.arguments)

    @torch.no_grad()
    def prepare(self) -> None:
        """Compile or load the kernels, so that no fit is timed with it."""
        if can_compile(self.family.loc_unconstrained):
            compile_kernels()

    @torch.no_grad()
    def expect(
        self, x: Any, weights: Any = None, labels: Any = None, dtype: torch.dtype | None = None
    ) -> HardStatistics:
        """E-step: assign each row to its nearest centre, or to its label, and sum the differences (row - centre).

        Args:
            x: (n, d) rows.
            weights: (n,) row weights, or None for ones.
            labels: (n,) known components, -1 where unknown, or None.
            dtype: Has no effect: nearly equal distances are told apart only in float64.

        Returns:
            `HardStatistics`: the sums of each cluster, the distortion, the bound in nats and the rows furthest from
            their centres.
        """
        rows, weights, labels = self._rows_to_sum(x, weights, labels)
        labels = None if labels is None or bool((labels < 0).all()) else labels  # the same bits as without labels
        nearest = NearestCentre(self.loc.detach())
        if nearest.product_is_accurate and can_compile(rows):
            return self._require_possible(x, self._statistics(*nearest.hard_sums(rows, weights, labels)))
        size = max(256, BLOCK_DIFFERENCES // self.loc.numel()) if rows.is_cpu else max(1, len(rows))
        blocks = [slice(start, start + size) for start in range(0, max(1, len(rows)), size)]

        def part_of(values: Tensor | None, block: slice) -> Tensor | None:
            return None if values is None else values[block]

        parts = [
            self._assign(nearest, rows[block], part_of(weights, block), part_of(labels, block)) for block in blocks
        ]
        return self._require_possible(x, HardStatistics.merge(parts))

    @torch.no_grad()
    def maximize(self, statistics: Statistics, length: float = 1.0) -> None:
        """M-step: each centre moves to the mean of its rows, and scale^2 = distortion / (rows * columns).

        Each empty cluster takes one of the rows furthest from their centres. That row leaves its cluster, unless it is
        the only one there. Frozen parameters stay.

        Args:
            statistics: What `expect` returns, summed over all rows.
            length: Has no effect: the step is exact.

        Raises:
            TypeError: The statistics are not those of `KMeans.expect`.
        """
        statistics = self._hard(statistics)
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
            centres = centres + step
            distortion = distortion - weight @ step.square().sum(1)  # of all points the mean has the least distortion
        cells = statistics.total_weight * centres.shape[1]
        least = (LEAST_SCALE * self.family.unit.mean()) ** 2  # type: ignore[operator]
        self._set_parameters(centres, (distortion / cells).clamp(min=least).sqrt())

    @property
    def has_expected_log_joint(self) -> bool:
        """True: the sums of the clusters give the gradient of the bound."""
        return True

    def expected_log_joint(self, statistics: Statistics) -> Float[Tensor, ""]:
        """sum over rows of log(1 / k) + log N(x; its centre, scale^2 I), in nats, with the clusters as they are.

        Args:
            statistics: What `expect` returned at the present parameters, summed over all rows.

        Returns:
            A number, differentiable in the centres and the scale. Its gradient is that of the bound.

        Raises:
            TypeError: The statistics are not those of `KMeans.expect`.
        """
        weight, total, distortion = (own := self._hard(statistics)).weight, own.total, own.distortion
        step = self.loc - self.loc.detach()  # 0: the sums are relative to the centres at which they were taken
        distortion = distortion - 2 * (total * step).sum() + weight @ step.square().sum(1)
        variance = self.family.scale**2  # type: ignore[operator]
        cells = own.total_weight * step.shape[1]
        constant = own.total_weight * math.log(len(weight)) + cells / 2 * math.log(2 * math.pi)
        return -constant - cells / 2 * variance.log() - distortion / (2 * variance)

    def remeasure(self, statistics: Statistics) -> Statistics:
        """Raise TypeError: statistics of a hard assignment jump when a row changes its cluster, and have no average."""
        raise TypeError(
            "KMeans assigns each row to one centre, so that its statistics jump when a row changes its cluster, but "
            "online and accelerated EM expect statistics that change smoothly: fit it with EM(), which ends after "
            "finitely many passes"
        )

    def summary(
        self, columns: Iterable[str] | None = None, levels: Sequence[Sequence[str] | None] | None = None
    ) -> pd.DataFrame:
        """One row per centre: its mean of each column, and the standard deviation that all components share.

        Args:
            columns: Names of the columns; by default those of the table it was fitted to.
            levels: As in `Mixture.summary`.

        Returns:
            A DataFrame in the order of the first column. Its index is the number of the component, as in `predict`.
        """
        return super().summary(columns, levels).drop(columns="weight")

    def check(self) -> None:
        """Do nothing: a cluster of one row has distortion 0, and is no collapse."""

    # inside

    @staticmethod
    def _hard(statistics: Statistics) -> HardStatistics:
        """The same statistics. Raises TypeError if they are of another model."""
        if not isinstance(statistics, HardStatistics):
            raise TypeError(f"got {type(statistics).__name__}, expected what KMeans.expect returns")
        return statistics

    def _assign(
        self, nearest: NearestCentre, x: Tensor, weights: Tensor | None, labels: Tensor | None
    ) -> HardStatistics:
        """The statistics of one block of rows."""
        cluster, centres = nearest.assign(x), nearest.centres
        if labels is not None:
            cluster = torch.where(labels >= 0, labels, cluster)
        difference = x - centres.index_select(0, cluster)
        w = torch.ones_like(x[:, 0]) if weights is None else weights
        total = torch.zeros_like(centres).index_add_(0, cluster, difference * w[:, None])
        squared = difference.square().sum(1)
        free = torch.arange(len(x), device=x.device) if labels is None else (labels < 0).nonzero().squeeze(1)
        top = free[squared[free].topk(min(len(centres), len(free))).indices]  # a row with a label keeps it
        furthest = squared[top], x[top], w[top], cluster[top]
        return self._statistics(
            torch.bincount(cluster, w, minlength=len(centres)), total, w @ squared, w.sum(), *furthest
        )

    def _set_parameters(self, centres: Tensor, scale: Tensor) -> None:
        """Set what is not frozen, on the unconstrained side: checks of assignments would take longer than a pass."""
        family: Any = self.family
        if not family.is_frozen("loc"):
            family.loc_unconstrained.data = (centres - family.origin) / family.unit
            family.names_set.add("loc")
        if not family.is_frozen("scale"):
            family.scale_unconstrained.data = scale.log()
            family.names_set.add("scale")

    def _statistics(
        self, weight: Tensor, total: Tensor, distortion: Tensor, total_weight: Tensor, *furthest: Tensor
    ) -> HardStatistics:
        """`HardStatistics` of these sums. The bound is that of rows at their centres minus distortion / (2 scale^2)."""
        variance = self.family.scale.detach() ** 2  # type: ignore[operator]
        bound_at_centre = -math.log(len(weight)) - total.shape[1] / 2 * (2 * math.pi * variance).log()
        bound = bound_at_centre * total_weight - distortion / (2 * variance)
        return HardStatistics(weight, total, bound, total_weight, distortion, *furthest)

    def batch(self, rows: Any, generators: Any) -> None:
        """None: its restarts run one after another."""

    def _coordinates(self, x: Tensor, data: Moments) -> Tensor:
        return x - data.mean  # k-means++ and the distortion then use the same distances

    def _logits(self, x: Tensor, labels: Tensor | None) -> Float[Tensor, "n k"]:
        nearest = self._log_joint(x, labels).argmax(-1)
        return label_log_mask(nearest, self.family.components)
