"""SQUAREM: EM that extrapolates along its path, and never lowers the bound."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from .contract import require_shape
from .data_bound import expectation
from .em_steps import EMSteps

POINTS = 3  # of the path, which an extrapolation needs


class SquaremSteps:
    """Passes of EM on a path s0, s1 = G(s0), s2 = G(s1), and after three points an extrapolation to s0 + 2 a r + a^2 v.

    Here r = s1 - s0, v = s2 - 2 s1 + s0 and a = -<r, v> / <v, v>, the steplength S1 of Varadhan & Roland, Scandinavian
    Journal of Statistics 35 (2008), 335-353; a = 1 gives s2.

    The points are expected statistics, from which an M-step gives a model, and its E-step gives the next point. Where
    the M-step is only a step uphill (`generalized`), the statistics do not determine the iteration, and the points are
    the unconstrained parameters. An extrapolation that is impossible or would lower the bound is rejected: that pass
    changes nothing, and EM continues from s2.
    """

    def __init__(self, plain: EMSteps):
        self.plain = plain
        self.path: list[Tensor] = []  # the last points, at most three

    def __iter__(self) -> SquaremSteps:
        return self

    def __next__(self) -> Tensor:
        goal = extrapolate(*self.path, relative=not self.model.generalized) if len(self.path) == POINTS else None
        if goal is not None:
            self._try_extrapolation(goal)
        else:
            self._advance()
        assert self.plain.last is not None
        return self.plain.last[1]

    @property
    def model(self) -> Any:
        return self.plain.model

    @property
    def statistics(self) -> Any:
        """Those of all rows at the current parameters."""
        return self.plain.statistics

    def state_dict(self) -> dict[str, Tensor]:
        """The state of plain EM, and the path."""
        return self.plain.state_dict() | {f"path.{i}": point for i, point in enumerate(self.path)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore that state, for a model whose own state is restored."""
        self.path = [state[f"path.{i}"] for i in range(sum(name.startswith("path.") for name in state))]
        self.plain.load_state_dict({name: value for name, value in state.items() if not name.startswith("path.")})
        for point in self.path:
            require_shape(point, self._point(), "path")

    def _advance(self) -> None:
        """A pass of plain EM, one point further on the path."""
        path = self.path[1 - POINTS :]
        if self.model.generalized:
            before = [buffer.clone() for buffer in self.model.buffers()]
            next(self.plain)
            if not all(map(torch.equal, before, self.model.buffers())):
                path = []  # parameters now have another origin or unit
        else:
            next(self.plain)
            path = [self._remeasured(point) for point in path]
        self.path = [*path, self._point()]

    def _try_extrapolation(self, goal: Tensor) -> None:
        """Try an extrapolation on a copy, so that the model stays as it is if the bound falls."""
        assert self.plain.last is not None
        trial = copy.deepcopy(self.model)
        try:
            self._set(trial, goal)
            last = expectation(trial, self.plain.rows)
        except (ArithmeticError, ValueError, torch.linalg.LinAlgError):  # type: ignore[reportPrivateImportUsage]
            last = None  # a parameter or row became impossible
        if last is None or not last[1] >= self.plain.last[1]:
            self.path = self.path[-1:]
            return
        self._set(self.model, goal)
        self.plain.last, self.plain.gain = last, 0.0  # the gain of an extrapolation says nothing about the next step
        self.path = [self._point()] if self.model.generalized else [self._remeasured(goal), self._point()]

    def _point(self) -> Tensor:
        """The current point: (k, 1 + s) weight and total of the statistics, or parameters if generalized."""
        if self.model.generalized:
            return parameters_to_vector(self.model.parameters()).detach().clone()
        assert self.plain.last is not None
        statistics = self.plain.last[0]
        return torch.cat([statistics.weight.unsqueeze(-1), statistics.total], -1)

    def _set(self, model: Any, point: Tensor) -> None:
        """Set a model to a point."""
        if model.generalized:
            vector_to_parameters(point, model.parameters())
        else:
            model.maximize(self._statistics(point))

    def _remeasured(self, point: Tensor) -> Tensor:
        """Statistics from before the last M-step, in the origins and units the model has now."""
        total = self.model.remeasure(self._statistics(point)).total
        return torch.cat([point[:, :1], total], -1)

    def _statistics(self, point: Tensor) -> Any:
        assert self.plain.last is not None
        return replace(self.plain.last[0], weight=point[:, 0].clone(), total=point[:, 1:].clone())


def extrapolate(s0: Tensor, s1: Tensor, s2: Tensor, relative: bool) -> Tensor | None:
    """The point to extrapolate to from three points of a path; None if it is no further than s2.

    relative: the points are statistics. Each column is then divided by its largest entry, so that units do not matter,
    and the extrapolation is shortened until the weights, the first column, are positive.
    """
    r, v = s1 - s0, s2 - 2 * s1 + s0
    known = torch.isfinite(v)  # a probability of 0 is infinite when unconstrained: it stays
    r, v = torch.where(known, r, 0.0), torch.where(known, v, 0.0)
    unit = torch.stack([s0, s1, s2]).abs().amax((0, 1)) if relative else torch.ones_like(s2)
    unit = torch.where(unit > 0, unit, 1.0)
    length = float(-((r / unit) * (v / unit)).sum() / (v / unit).square().sum())
    while length > 1.01:  # also false for NaN, where the path does not move
        goal = torch.where(known, s0 + 2 * length * r + length**2 * v, s2)
        if not relative or ((goal[:, 0] > 0) | (s2[:, 0] == 0)).all():
            return goal
        length = (length + 1) / 2
    return None
