"""SQUAREM: EM that leaps ahead along its path, and never down."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from .data_bound import expectation
from .em_steps import EMSteps

POINTS = 3  # of the path, from which a leap is judged


class SquaremSteps:
    """Passes of EM on a path s0, s1 = G(s0), s2 = G(s1), and where three points are known a leap to
    s0 + 2 a r + a^2 v, with r = s1 - s0, v = s2 - 2 s1 + s0 and a = -<r, v> / <v, v> (their steplength S1; a = 1 is
    s2). Varadhan & Roland, Scandinavian Journal of Statistics 35 (2008), 335-353.

    The points are expected statistics, from which an M-step leads to a model: in these mean parameters a leap is
    straight, and its E-step is the next point of the path. Where the M-step only takes a step (`generalized`), the
    statistics are no state of the iteration, and the points are the unconstrained parameters. A leap that is impossible
    or would lower the bound is not made: that pass changes nothing, and EM goes on from s2.
    """

    def __init__(self, plain: EMSteps):
        self.plain = plain
        self.path: list[Tensor] = []  # its last points, at most three

    def __iter__(self) -> SquaremSteps:
        return self

    def __next__(self) -> Tensor:
        if len(self.path) == POINTS and (goal := leap(*self.path, relative=not self.model.generalized)) is not None:
            self._try(goal)
        else:
            self._advance()
        assert self.plain.last is not None
        return self.plain.last[1]

    @property
    def model(self) -> Any:
        return self.plain.model

    @property
    def statistics(self) -> Any:
        """Those of all rows at the parameters as they stand."""
        return self.plain.statistics

    def state_dict(self) -> dict[str, Tensor]:
        """That of plain EM, and the path."""
        return self.plain.state_dict() | {f"path.{i}": point for i, point in enumerate(self.path)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there, with a model that is as it was there."""
        self.path = [state[f"path.{i}"] for i in range(sum(name.startswith("path.") for name in state))]
        self.plain.load_state_dict({name: value for name, value in state.items() if not name.startswith("path.")})

    def _advance(self) -> None:
        """A pass of plain EM, one point further on the path."""
        path = self.path[1 - POINTS :]
        if self.model.generalized:
            before = [buffer.clone() for buffer in self.model.buffers()]
            next(self.plain)
            if not all(map(torch.equal, before, self.model.buffers())):
                path = []  # parameters are now measured from elsewhere
        else:
            next(self.plain)
            path = [self._remeasured(point) for point in path]
        self.path = [*path, self._point()]

    def _try(self, goal: Tensor) -> None:
        """A leap, tried on a copy, so that a model is as it was where that falls."""
        assert self.plain.last is not None
        trial = copy.deepcopy(self.model)
        try:
            self._place(trial, goal)
            last = expectation(trial, self.plain.rows)
        except (ArithmeticError, ValueError, torch.linalg.LinAlgError):  # type: ignore[reportPrivateImportUsage]
            last = None  # parameters or rows have become impossible
        if last is None or not last[1] >= self.plain.last[1]:
            self.path = self.path[-1:]
            return
        self._place(self.model, goal)
        self.plain.last, self.plain.gain = last, 0.0  # what a leap gained says nothing of the next step
        self.path = [self._point()] if self.model.generalized else [self._remeasured(goal), self._point()]

    def _point(self) -> Tensor:
        """Where the path is: (k, 1 + s) weight and total of the statistics; of a generalized model its parameters."""
        if self.model.generalized:
            return parameters_to_vector(self.model.parameters()).detach().clone()
        assert self.plain.last is not None
        statistics = self.plain.last[0]
        return torch.cat([statistics.weight.unsqueeze(-1), statistics.total], -1)

    def _place(self, model: Any, point: Tensor) -> None:
        """Bring a model to a point."""
        if model.generalized:
            vector_to_parameters(point, model.parameters())
        else:
            model.maximize(self._statistics(point))

    def _remeasured(self, point: Tensor) -> Tensor:
        """Statistics of before the last M-step, as the model measures now."""
        total = self.model.remeasure(self._statistics(point)).total
        return torch.cat([point[:, :1], total], -1)

    def _statistics(self, point: Tensor) -> Any:
        assert self.plain.last is not None
        return replace(self.plain.last[0], weight=point[:, 0].clone(), total=point[:, 1:].clone())


def leap(s0: Tensor, s1: Tensor, s2: Tensor, relative: bool) -> Tensor | None:
    """Where to, from three points of a path; None where it leads no further than s2.

    relative: the points are statistics, each column in a unit of its own, in which it is then measured by its largest
    entry, so that no unit matters; the first column are weights, and the leap is shortened to keep them positive.
    """
    r, v = s1 - s0, s2 - 2 * s1 + s0
    known = torch.isfinite(v)  # a probability of 0 is infinite, unconstrained: it stays
    r, v = torch.where(known, r, 0.0), torch.where(known, v, 0.0)
    unit = torch.stack([s0, s1, s2]).abs().amax((0, 1)) if relative else torch.ones_like(s2)
    unit = torch.where(unit > 0, unit, 1.0)
    length = float(-((r / unit) * (v / unit)).sum() / (v / unit).square().sum())
    while length > 1.01:  # NaN on a path that stands still
        goal = torch.where(known, s0 + 2 * length * r + length**2 * v, s2)
        if not relative or ((goal[:, 0] > 0) | (s2[:, 0] == 0)).all():
            return goal
        length = (length + 1) / 2
    return None
