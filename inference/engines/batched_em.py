"""The passes of EM of many restarts in one tensor, accelerated where they creep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...models import Statistics
from ...models.mixtures.mixture_batch import Batch
from .squarem import POINTS, REJECTIONS, extrapolate_each


class BatchedEM:
    """EM of m models side by side; each takes the steps that `EMSteps` and `SquaremSteps` would take with it alone.

    Args:
        batch: The models.
        expect: The E-step of all rows, at the present parameters of the batch.
    """

    def __init__(self, batch: Batch, expect: Callable[[], Statistics]):
        self.batch, self.expect = batch, expect
        self.statistics: Statistics | None = None
        self.bounds = torch.empty(0)
        self.is_accelerated = torch.zeros(len(batch.weights), dtype=torch.bool)  # which runs are accelerated
        self.path: Tensor | None = None  # (3, m, k, 1 + s): the last points of each, the newest last
        self.points = torch.zeros(len(batch.weights), dtype=torch.long)  # how many of them belong to a path
        self.rejections = torch.zeros_like(self.points)  # in turn
        self.longest = torch.full((len(batch.weights),), torch.inf, dtype=torch.float64)  # steplength that is tried

    def advance(self) -> Int[Tensor, " able"]:
        """One pass of all models, whose bounds are then in `bounds`, in nats per row. The first one is an E-step.

        Returns:
            Which models are left: those whose M-step failed are removed.
        """
        left = torch.arange(len(self.is_accelerated))
        if self.statistics is None:
            self._evaluate()
        elif not self.is_accelerated.any():
            left = self.batch.maximize(self.statistics).nonzero().squeeze(1)
            self._keep_own(left)
            if len(left):
                self._evaluate()
        else:
            left = self._accelerated_pass(self.statistics)
        return left

    def accelerate(self, which: Bool[Tensor, " m"]) -> None:
        """Accelerate these models, too, from here on."""
        new = which & ~self.is_accelerated
        if not new.any():
            return
        assert self.statistics is not None
        if self.path is None:
            self.path = self._points(self.statistics).expand(POINTS, -1, -1, -1).clone()
        self.path[-1][new] = self._points(self.statistics)[new]
        self.points[new] = 1
        self.is_accelerated = self.is_accelerated | which

    def keep(self, kept: Int[Tensor, " kept"]) -> None:
        """Keep only these models, in this order."""
        assert self.statistics is not None
        self.statistics = self.batch.keep(kept, self.statistics)
        self.bounds = self.bounds[kept]
        self._keep_own(kept)

    def _keep_own(self, kept: Tensor) -> None:
        self.is_accelerated, self.points, self.longest = (
            self.is_accelerated[kept],
            self.points[kept],
            self.longest[kept],
        )
        self.rejections = self.rejections[kept]
        self.path = None if self.path is None else self.path[:, kept]

    def _evaluate(self) -> None:
        self.statistics = self.expect()
        self.bounds = (self.statistics.bound + self.batch.global_term()) / self.statistics.total_weight

    def _accelerated_pass(self, statistics: Statistics) -> Tensor:
        """A pass in which models that have a path of three points extrapolate, and all others take a step of EM."""
        assert self.path is not None
        m = len(self.is_accelerated)
        goal, extrapolated = self._points(statistics), self.is_accelerated & (self.points == POINTS)
        length = torch.ones_like(self.longest)
        if extrapolated.any():
            further, length = extrapolate_each(*self.path, longest=self.longest)
            extrapolated = extrapolated & (length > 1)
            goal = torch.where(_wide(extrapolated), further, goal)
        before, own, bounds = self.batch.values(), statistics, self.bounds
        left, failed = torch.arange(m), torch.zeros_like(extrapolated)
        if not self.batch.maximize_all(self._statistics(goal, own)):
            # an impossible extrapolation is rejected; a model whose own step fails is removed
            failed = extrapolated & self.batch.failing(self._statistics(goal, own))
            goal = torch.where(_wide(failed), self._points(own), goal)
            left = self.batch.maximize(self._statistics(goal, own)).nonzero().squeeze(1)
        if len(left) < m:
            before, bounds = [value.unflatten(0, (m, -1))[left].flatten(0, 1) for value in before], bounds[left]
            own, goal, extrapolated = _part(own, left, m), goal[left], extrapolated[left]
            failed, length = failed[left], length[left]
            self._keep_own(left)
            if not len(left):
                return left
        self._evaluate()
        rejected = extrapolated & (failed | ~(self.bounds >= bounds))
        path, goal = self._remeasured(torch.cat([self.path, goal.unsqueeze(0)])).split([POINTS, 1])
        assert self.statistics is not None
        new = self._points(self.statistics)
        if rejected.any():
            self.batch.restore(before, rejected)
            stay = _wide(rejected)
            new = torch.where(stay, self._points(own), new)
            self.bounds = torch.where(rejected, bounds, self.bounds)
            total = torch.where(rejected, own.bound, self.statistics.bound)
            self.statistics = replace(self._statistics(new, self.statistics), bound=total)
        accepted = extrapolated & ~rejected
        self.path = torch.stack([path[1], torch.where(_wide(accepted), goal[0], path[2]), new])
        self.points = (self.points + 1).clamp(max=POINTS)
        self.points[accepted], self.points[rejected] = 2, 1
        self.rejections = torch.where(accepted, 0, self.rejections + rejected)
        self.longest[extrapolated] = torch.where(rejected & (self.rejections > REJECTIONS), length / 2, torch.inf)[
            extrapolated
        ]
        return left

    def _points(self, statistics: Statistics) -> Float[Tensor, "m k c"]:
        """The points of all models: weight and total of the statistics of each component."""
        both = torch.cat([statistics.weight.unsqueeze(-1), statistics.total], -1)
        return both.unflatten(0, (len(self.batch.weights), -1))

    def _statistics(self, points: Float[Tensor, "m k c"], like: Statistics) -> Statistics:
        both = points.flatten(0, 1)
        return replace(like, weight=both[:, 0].clone(), total=both[:, 1:].clone())

    def _remeasured(self, points: Float[Tensor, "p m k c"]) -> Float[Tensor, "p m k c"]:
        """Statistics from before the last M-step, in the origins and units that the models have now."""
        made, weight, first = [], points[0, ..., 0].flatten(), points[0, ..., 1:].flatten(0, 1)
        if self.batch.family.remeasure(weight, first) is first:
            return points  # no origin has moved
        for each in points.flatten(1, 2):
            total = self.batch.family.remeasure(each[:, 0], each[:, 1:])
            made.append(torch.cat([each[:, :1], total], -1).unflatten(0, points.shape[1:3]))
        return torch.stack(made)


def _wide(which: Bool[Tensor, " m"]) -> Bool[Tensor, "m 1 1"]:
    return which[:, None, None]


def _part(statistics: Statistics, kept: Tensor, m: int) -> Statistics:
    """The statistics of these of m models."""
    return replace(
        statistics,
        weight=statistics.weight.unflatten(0, (m, -1))[kept].flatten(0, 1),
        total=statistics.total.unflatten(0, (m, -1))[kept].flatten(0, 1),
        bound=statistics.bound[kept],
    )
