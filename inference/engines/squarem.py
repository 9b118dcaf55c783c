"""SQUAREM: EM that extrapolates along its path, and never lowers the bound."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ...models.abilities import is_module
from .contract import require_shape
from .convergence import creeps, judged_after
from .data_bound import expectation
from .em_steps import EMSteps

POINTS = 3  # of the path, which an extrapolation needs
REJECTIONS = 3  # in turn, after which steps are shortened
SHORTEST = 1.01  # the steplength of an extrapolation; 1 gives s2


class SquaremSteps:
    """Passes of EM on a path s0, s1 = G(s0), s2 = G(s1), and after three points an extrapolation to s0 + 2 a r + a^2 v.

    Here r = s1 - s0, v = s2 - 2 s1 + s0 and a = -<r, v> / <v, v>, the steplength S1 of Varadhan & Roland, Scandinavian
    Journal of Statistics 35 (2008), 335-353; a = 1 gives s2.

    The points are expected statistics, from which an M-step gives a model, and its E-step gives the next point. Where
    the M-step is only a step uphill (`generalized`), the statistics do not determine the iteration, and the points are
    the unconstrained parameters. An extrapolation that is impossible or would lower the bound is rejected: that pass
    changes nothing, and EM continues from s2. After more than three rejections in turn, the next steplength is at
    most half as large, until one is accepted.

    Args:
        plain: The passes of EM.
        tol: None extrapolates from the beginning. A number makes plain passes until the run `creeps` with this
            tolerance.
    """

    def __init__(self, plain: EMSteps, tol: float | None = None):
        self.plain, self.tol = plain, tol
        self.path: list[Tensor] = []  # the last points, at most three
        self.rejections = 0  # in turn
        self.longest = math.inf  # the longest steplength that is tried
        self.bounds: list[float] | None = None if tol is None else []  # of the plain passes; None once they are over

    def __iter__(self) -> SquaremSteps:
        return self

    def __next__(self) -> Tensor:
        if self.bounds is not None:
            return self._plain_pass(self.bounds)
        if not (len(self.path) == POINTS and self._try_extrapolation()):
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
        if self.plain.last is None:
            return {}
        path = {f"path.{i}": point for i, point in enumerate(self.path)}
        path["rejected"] = torch.tensor([self.rejections, self.longest], dtype=torch.float64)
        if self.tol is not None:
            path["plain"] = torch.tensor(self.bounds or [], dtype=torch.float64)
        return self.plain.state_dict() | path

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore that state, for a model whose own state is restored."""
        if not state:
            return
        if self.tol is not None or "rejected" in state:  # earlier versions did not count
            require_shape(state["rejected"], torch.zeros(2), "rejected")
            self.rejections, self.longest = int(state["rejected"][0]), float(state["rejected"][1])
        if self.tol is not None:
            self.bounds = state["plain"].flatten().tolist() or None
        self.path = [state[f"path.{i}"] for i in range(sum(name.startswith("path.") for name in state))]
        own = ("path.", "plain", "rejected")
        self.plain.load_state_dict({name: value for name, value in state.items() if not name.startswith(own)})
        for point in self.path:
            require_shape(point, self._point(), "path")

    def _plain_pass(self, bounds: list[float]) -> Tensor:
        """A pass of plain EM. If the run creeps by now, the path begins here, where there are statistics that say
        something about other parameters."""
        bound = next(self.plain)
        bounds.append(float(bound))
        if judged_after(len(bounds)) and creeps(bounds, self.tol or 0.0) is not None and self._can_extrapolate():
            self.bounds, self.path = None, [self._point()]
        return bound

    def _can_extrapolate(self) -> bool:
        """Whether the model's points can be extrapolated: those of k-means, whose rows have one centre each, cannot."""
        try:
            self.model.remeasure(self.plain.statistics)
        except TypeError:
            return False
        return True

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

    def _try_extrapolation(self) -> bool:
        """Extrapolate; if the bound falls, the model is as it was before. Returns False if there is nothing to try."""
        assert self.plain.last is not None
        goal, length = extrapolate(*self.path, relative=not self.model.generalized, longest=self.longest)
        if not length > 1:
            return False
        restore = _restorer(self.model)
        try:
            self._set(goal)
            last = expectation(self.model, self.plain.rows)
        except (ArithmeticError, ValueError, torch.linalg.LinAlgError):  # type: ignore[reportPrivateImportUsage]
            last = None  # a parameter or row became impossible
        if last is None or not last[1] >= self.plain.last[1]:
            restore()
            self.path, self.rejections = self.path[-1:], self.rejections + 1
            self.longest = length / 2 if self.rejections > REJECTIONS else math.inf
            return True
        self.rejections, self.longest = 0, math.inf
        self.plain.last, self.plain.gain = last, 0.0  # the gain of an extrapolation says nothing about the next step
        self.path = [self._point()] if self.model.generalized else [self._remeasured(goal), self._point()]
        return True

    def _point(self) -> Tensor:
        """The current point: (k, 1 + s) weight and total of the statistics, or parameters if generalized."""
        if self.model.generalized:
            return parameters_to_vector(self.model.parameters()).detach().clone()
        assert self.plain.last is not None
        statistics = self.plain.last[0]
        return torch.cat([statistics.weight.unsqueeze(-1), statistics.total], -1)

    def _set(self, point: Tensor) -> None:
        """Set the model to a point."""
        if self.model.generalized:
            vector_to_parameters(point, self.model.parameters())
        else:
            self.model.maximize(self._statistics(point))

    def _remeasured(self, point: Tensor) -> Tensor:
        """Statistics from before the last M-step, in the origins and units the model has now."""
        total = self.model.remeasure(self._statistics(point)).total
        return torch.cat([point[:, :1], total], -1)

    def _statistics(self, point: Tensor) -> Any:
        assert self.plain.last is not None
        return replace(self.plain.last[0], weight=point[:, 0].clone(), total=point[:, 1:].clone())


def _restorer(model: Any) -> Callable[[], object]:
    """A function that gives the model the state it has now. (A copy of a whole module takes longer than a pass.)"""
    if is_module(model):
        state = {n: v.clone() if isinstance(v, Tensor) else copy.deepcopy(v) for n, v in model.state_dict().items()}
        return lambda: model.load_state_dict(state)
    held = copy.deepcopy(vars(model))
    return lambda: vars(model).update(held)


def extrapolate(s0: Tensor, s1: Tensor, s2: Tensor, relative: bool, longest: float = math.inf) -> tuple[Tensor, float]:
    """The point to extrapolate to from three points of a path, and the steplength; s2 and 1 if it is no further.

    relative: the points are statistics. Each column is then divided by its largest entry, so that units do not matter,
    and the extrapolation is shortened until the weights, the first column, are positive. longest: the longest
    steplength.
    """
    if relative:
        limit = torch.tensor([longest], dtype=torch.float64, device=s0.device)
        goal, length = extrapolate_each(s0.unsqueeze(0), s1.unsqueeze(0), s2.unsqueeze(0), limit)
        return goal[0], float(length)
    r, v, known = _differences(s0, s1, s2)
    length = min(float(-(r * v).sum() / v.square().sum()), longest)
    if not length > SHORTEST:  # also for NaN, where the path does not move
        return s2, 1.0
    return torch.where(known, s0 + 2 * length * r + length**2 * v, s2), length


def extrapolate_each(
    s0: Float[Tensor, "m k c"], s1: Float[Tensor, "m k c"], s2: Float[Tensor, "m k c"], longest: Float[Tensor, " m"]
) -> tuple[Float[Tensor, "m k c"], Float[Tensor, " m"]]:
    """The same for the paths of m models, whose points are statistics, with the longest steplength of each."""
    r, v, known = _differences(s0, s1, s2)
    unit = torch.maximum(torch.maximum(s0.abs(), s1.abs()), s2.abs()).amax(1, keepdim=True)
    unit = torch.where(unit > 0, unit, 1.0)
    length = -((r / unit) * (v / unit)).sum((1, 2)) / (v / unit).square().sum((1, 2))
    length = torch.minimum(length, longest)
    while True:
        step = length[:, None, None]
        goal = torch.where(known, s0 + 2 * step * r + step**2 * v, s2)
        further = length > SHORTEST  # also false for NaN, where the path does not move
        short = further & ~((goal[..., 0] > 0) | (s2[..., 0] == 0)).all(1)
        if not short.any():
            return torch.where(further[:, None, None], goal, s2), torch.where(further, length, 1.0)
        length = torch.where(short, (length + 1) / 2, length)


def _differences(s0: Tensor, s1: Tensor, s2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """r and v, 0 where they are not finite (a probability of 0 is infinite when unconstrained: it stays), and where
    they are."""
    r, v = s1 - s0, s2 - 2 * s1 + s0
    known = torch.isfinite(v)
    return torch.where(known, r, 0.0), torch.where(known, v, 0.0), known
