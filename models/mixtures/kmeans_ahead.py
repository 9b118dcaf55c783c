"""Passes of k-means that are made ahead by compiled code, and given out one at a time."""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...data.chunk import Chunk
from ...data.rows import Rows
from ..kernels.compiled.block_sizes import COMPONENTS, ROWS, STATISTICS, padded
from ..kernels.parallel_rows import add_parts, run_on_threads
from .nearest_centre import NearestCentre
from .starts import kmeans_plus_plus, known_centres

PART_ROWS = 1 << 15  # of a table that threads share; parts do not depend on the number of threads
AHEAD = 16  # passes made in one call: the last ones may be in vain, if the engine stops before them
MOST_NUMBERS = 1 << 20  # in the centres of these passes
LEAST_SCALE = 1e-12  # relative to the spread of the data: the scale where every row is a centre
GOING, FIXED, PLAIN, AGAIN = range(4)  # the states of a run, as in `kmeans_passes`


def draw_centres(
    sample: Chunk, mean: Float[Tensor, " d"], components: int, generator: torch.Generator
) -> Float[Tensor, "k d"]:
    """Centres by k-means++ among the rows of a sample; those of labelled rows are the means of these rows.

    Args:
        sample: The rows.
        mean: (d,) the mean of all rows, from which distances lose no digits.
        components: k, the number of centres.
        generator: What they are drawn from.

    Raises:
        ValueError: As `kmeans_plus_plus`.
    """
    x = sample.x - mean
    known = known_centres(x, sample.weights, sample.labels)
    return kmeans_plus_plus(x, sample.weights, components, [generator], known)[0] + mean


@cache
def compile_kernels() -> None:
    """Compile or load every kernel of k-means, once in a process: their types do not depend on the model."""
    rows = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    NearestCentre(rows).hard_sums(rows, None, None)
    kmeans_plus_plus(rows, None, 2, [torch.Generator().manual_seed(0)])
    ahead = KMeansAhead(None, 2, rows, None, None)
    ahead._start(rows, 1.0)
    ahead._passes()
    ahead._one_pass()


class KMeansAhead:
    """The passes of k-means over rows in memory: exactly Lloyd's, without visits to rows that cannot change.

    Args:
        model: The `KMeans` whose centres and scale are set by every pass, neither of them frozen; None to try kernels.
        components: k, the number of centres.
        x: (n, d) rows on the CPU, checked.
        weights: (n,) positive row weights, or None for ones.
        labels: (n,) known clusters, -1 where unknown, or None.
    """

    def __init__(
        self, model: Any, components: int, x: Float[Tensor, "n d"], weights: Float[Tensor, " n"] | None,
        labels: Int[Tensor, " n"] | None,
    ):  # fmt: skip
        d, k = x.shape[1], components
        self.model, self.x = model, x.contiguous().numpy()
        self.weights = np.empty(0) if weights is None else weights.contiguous().numpy()
        self.labels = np.empty(0, np.int64) if labels is None else labels.contiguous().numpy()
        self.total_weight = float(len(x) if weights is None else weights.sum())
        n, kp, p = len(x), padded(k, COMPONENTS), padded(1 + d, STATISTICS)
        self.centres, self.first, self.middle = np.empty((k, d)), np.empty((k, d)), np.empty(d)
        self.coefficients, self.half, self.moved = np.zeros((kp, p)), np.empty(k), np.zeros(k)
        self.bounds = np.full(n, -1), np.empty(n), np.empty(n)  # near, upper, lower
        self.sums = [np.zeros(k), np.zeros((k, d)), np.zeros(k), np.zeros(k, np.int64)]
        self.added = np.zeros(2)
        ahead = max(1, min(AHEAD, MOST_NUMBERS // (k * d))) if n <= PART_ROWS else 1
        self.path, self.distortions = np.empty((ahead, k, d)), np.empty((ahead, 2))
        self.memory_size = (3 + kp + p) * ROWS
        self.memory = np.empty(self.memory_size)
        if model is not None:
            self.begin()

    def begin(self) -> None:
        """Go on from the parameters that the model has now."""
        family = self.model.family
        self.origin, self.unit = family.origin, family.unit
        self.least = (LEAST_SCALE * float(self.unit.mean())) ** 2
        self._start(family.loc.detach(), float(family.scale.detach()) ** 2)

    def restart(self, rows: Rows, generator: torch.Generator) -> None:
        """Begin at another start, as `KMeans.initialize` draws it.

        Args:
            rows: The table of the fit.
            generator: What the start is drawn from.
        """
        sample, mean = rows.sample(generator), rows.moments.mean
        centres = draw_centres(sample, mean, len(self.centres), generator)
        self.model.family.origin = self.origin = centres.clone()  # as `initialize` does
        whole = len(sample.x) == len(self.x) and sample.weights is None and not len(self.weights)
        if whole:  # the step of the start is then the first pass over all rows, whose bound is not given out
            self._start(centres, 1.0)
            self._make()
            if self.made:
                self.given, self.variance = 1, self._variance(0)
                return
        self.model.step_from(centres, sample)
        self.begin()

    def advance(self) -> Tensor | None:
        """Set the model to the parameters of the next pass: the first time to those it has.

        Returns:
            Its bound in nats per row; or None, and the model as it was, where a pass is left to `expect` and
            `maximize`: a cluster is empty, or two centres are so near to each other that rounding could confuse them.
        """
        if self.given == self.made and self.state == GOING:
            self._make()
        if self.given < self.made:
            self.given += 1
        elif self.state != FIXED:
            return None
        t = self.given - 1
        self._set(t)
        d, variance = self.x.shape[1], self.variance
        bound = -math.log(len(self.centres)) - d / 2 * math.log(2 * math.pi * variance)
        bound -= float(self.distortions[t, 0]) / (2 * variance * self.total_weight)
        self.variance = self._variance(t)
        return torch.tensor(bound, dtype=torch.float64)

    # inside

    def _start(self, centres: Tensor, variance: float) -> None:
        """Begin at these centres and this variance."""
        self.centres[:] = centres.numpy()
        self.first[:] = self.centres
        self.variance = variance
        self.bounds[0][:] = -1
        for own in (*self.sums, self.added, self.moved):
            own[...] = 0
        self.added[1] = 1
        self.made, self.given, self.state = 0, 0, GOING

    def _make(self) -> None:
        """Make the next passes."""
        self.given = 0
        self.made, self.state = self._passes() if len(self.x) <= PART_ROWS else self._one_pass()

    def _variance(self, t: int) -> float:
        """That of the M-step after pass t."""
        return max(float(self.distortions[t, 1]) / (self.total_weight * self.x.shape[1]), self.least)

    def _set(self, t: int) -> None:
        """Set the parameters on the unconstrained side: the checks of assignments would cost more than a pass."""
        family = self.model.family
        family.loc_unconstrained.data = (torch.from_numpy(self.path[t]) - self.origin) / self.unit
        family.scale_unconstrained.data = torch.tensor(0.5 * math.log(self.variance), dtype=torch.float64)

    def _passes(self) -> tuple[int, int]:
        """The next passes of a table of one part, in one call: how many, and the state after them."""
        from ..kernels.compiled.kmeans_passes import kmeans_passes

        return kmeans_passes(
            self.x, self.weights, self.labels, self.centres, self.first, self.middle, self.coefficients, self.half,
            self.moved, self.memory, *self.bounds, *self.sums, self.added, self.path, self.distortions,
        )  # fmt: skip

    def _one_pass(self) -> tuple[int, int]:
        """The next pass of a table of several parts, which threads share."""
        from ..kernels.compiled.kmeans_passes import prepare_centres, settle

        largest = prepare_centres(self.centres, self.middle, self.coefficients, self.half)
        state = AGAIN if math.isfinite(largest) else PLAIN
        while state == AGAIN:
            worker = partial(_Part, self, largest)
            found = add_parts(run_on_threads(worker, range(0, len(self.x), PART_ROWS)))
            for total, own in zip([*self.sums, self.added[:1]], found, strict=True):
                total += own
            state = settle(
                self.centres, self.first, self.moved, self.bounds[0], *self.sums, self.added, self.path[0],
                self.distortions[0],
            )  # fmt: skip
        return int(state in (GOING, FIXED)), state


class _Part:
    """Assigns the rows of one part after another, in its own scratch memory."""

    def __init__(self, run: KMeansAhead, largest: float):
        from ..kernels.compiled.kmeans_passes import assign_rows

        self.run, self.largest, self.assign = run, largest, assign_rows
        self.memory = np.empty(run.memory_size)

    def __call__(self, start: int) -> tuple[int, list[np.ndarray]]:
        run, part = self.run, slice(start, start + PART_ROWS)
        changes = [np.zeros_like(own) for own in run.sums]
        rows = (own[part] for own in (run.x, run.weights, run.labels))
        size = self.assign(
            *rows, run.centres, run.first, run.middle, run.coefficients, run.half, run.moved, self.largest, self.memory,
            *(own[part] for own in run.bounds), *changes,
        )  # fmt: skip
        return start, [*changes, np.array([size])]
