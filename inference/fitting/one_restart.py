"""One restart of a fit: the loop over the passes of an engine, with the checks made after each of them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...models import Collapse, Rows, Statistics
from ...models.random_state import gpus, random_state_kept, reseed
from ..engines.collectives import require_same_bound, start_from_first
from ..engines.contract import Engine, HasOutcome, HasStatistics, Steps
from ..engines.convergence import ALL_FROZEN, EARLY_STOP, best_pass
from ..engines.data_bound import held_out_bound
from .progress import OnPass


@dataclass
class RestartRun:
    """The history of one restart so far.

    best, collapse_at_best: with patience, the model's state at the best held-out pass, and the collapse that
    `model.check` found in it.
    """

    model: Any
    bounds: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    collapse_at_best: Collapse | None = None
    reason: str | None = None  # why it stopped; None at max_passes
    outcome: tuple[bool, str] | None = None  # of steps with `HasOutcome`: whether it converged, and the reason
    fewest_rows: float | None = None  # of a component at the end, where a batch of restarts knows it
    statistics: Statistics | None = None  # of all rows at the end, if the engine knows them


@dataclass
class RestartsSoFar:
    """What the restarts before number `restart` have found; `gradient_norm` is set when all are done."""

    restart: int = 0
    winner: RestartRun | None = None
    final_bounds: list[float] = field(default_factory=list)  # one for each restart that did not collapse
    collapses: int = 0
    collapse: Collapse | None = None  # the last one
    seconds: float = 0.0
    gradient_norm: float | None = None
    small_ends: list[float] = field(default_factory=list)  # as `final_bounds`, of those that `least_rows` leaves out


@dataclass(frozen=True)
class RestartRunner:
    """The settings that all restarts share, and the loop that makes one restart."""

    model: Any
    rows: Rows
    engine: Engine
    max_passes: int
    seed: int
    validation: Rows | None
    patience: int | None
    least_rows: float | None = None

    def generator(self, restart: int) -> torch.Generator:
        """The source of random numbers for the start of this restart."""
        return torch.Generator().manual_seed(self._seed_of(restart))

    def begin(self, restart: int) -> tuple[Any, torch.Generator]:
        """An initialized copy of the model for this restart, and the generator that its passes use."""
        reseed(self._seed_of(restart), gpus(self.model))
        generator = self.generator(restart)
        model = copy.deepcopy(self.model)
        model.initialize(self.rows, None, generator, redraw=restart > 0)
        start_from_first(model, generator)
        return model, generator

    def run(
        self,
        restart: int,
        on_pass: OnPass,
        save: Callable[..., None] | None = None,
        resumed: Any = None,
        passes: int | None = None,
    ) -> RestartRun:
        """Make one restart.

        on_pass: called after each pass. save: called after each pass but the last, with the run, the steps and the
        generator; the last pass and the check of the model are always made by one process. resumed: the `SavedRun` to
        resume. passes: the number of passes of a short run, whose model is not checked.
        """
        model, generator = self.begin(restart)
        run = RestartRun(model) if resumed is None else resumed.run(model)
        steps = self.engine.passes(model, self.rows, self.max_passes, generator)
        if self.patience is not None and isinstance(steps, HasOutcome):
            raise ValueError(
                f"patience is {self.patience}, but {type(self.engine).__name__} ends by itself and has no "
                "best pass before its end, expected none: leave patience out"
            )
        if save is not None and not isinstance(steps, Steps):
            raise TypeError(
                f"{type(self.engine).__name__}.passes returns a {type(steps).__name__}, expected an iterator with "
                "state_dict() and load_state_dict() for a run with a checkpoint: write one, or leave checkpoint out"
            )
        if resumed is not None:
            resumed.restore(steps, generator)
        keep = None if save is None else partial(save, run, steps, generator)
        self.follow(run, steps, restart, on_pass, passes, keep)
        run.outcome = steps.outcome if isinstance(steps, HasOutcome) else None
        if run.outcome is not None and run.outcome[0]:
            run.reason = run.outcome[1]
        if passes is not None:
            return run
        if run.best is None:
            # a table that draws its rows is left out: a resumed run would sum them in another order
            if self.rows.is_fixed and isinstance(steps, HasStatistics):
                run.statistics = steps.statistics
            model.check()  # only at the end: before the clusters are separated, one may be thin beside a wide one
        else:
            model.load_state_dict(run.best)
            passes = best_pass(run.held_out) + 1
            run.bounds, run.times, run.best = run.bounds[:passes], run.times[:passes], None
            if run.collapse_at_best is not None:
                raise run.collapse_at_best
        return run

    def follow(
        self,
        run: RestartRun,
        steps: Iterator[Tensor],
        restart: int,
        on_pass: OnPass,
        passes: int | None,
        save: Callable[[], None] | None = None,
    ) -> None:
        """Take the passes of a run until it stops, check the bound of each and note it.

        passes: as in `run`. save: called after each pass but the last.
        """
        began = time.perf_counter() - (run.times[-1] if run.times else 0.0)
        for bound in steps:
            require_same_bound(float(bound))
            run.bounds.append(float(bound))
            run.times.append(time.perf_counter() - began)
            if not torch.isfinite(bound):
                raise ArithmeticError(
                    f"the bound became {float(bound)} in pass {len(run.bounds)}: the parameters have left the range of "
                    "floating-point numbers; rescale the data, or take a smaller learning_rate"
                )
            if self.validation is not None:
                self._evaluate_held_out(run, self.validation)
            on_pass(restart, len(run.bounds), run.bounds[-1], run.held_out[-1] if run.held_out else None)
            run.reason = self._stop_reason(run)
            if run.reason is not None or len(run.bounds) in (self.max_passes, passes):
                break
            if save is not None:
                save()

    def score(self, run: RestartRun) -> float:
        """The number by which the best restart is chosen."""
        return run.bounds[-1] if self.patience is None else max(run.held_out)

    def is_small(self, run: RestartRun) -> bool:
        """Whether the run ended with a component of fewer rows than `least_rows`."""
        if self.least_rows is None:
            return False
        if run.fewest_rows is None:
            run.fewest_rows = float(run.model.component_rows(self.rows.counted_rows).min())
        return run.fewest_rows < self.least_rows

    def order(self, run: RestartRun) -> tuple[bool, float]:
        """By which the best restart is chosen: first whether `least_rows` allows it."""
        return not self.is_small(run), self.score(run)

    def reason_of(self, run: RestartRun) -> str:
        """Why a run ended, and the pass of its model, if that is not the last."""
        if run.outcome is not None:
            return run.outcome[1]
        reason = run.reason or f"stopped at max_passes={self.max_passes} before it converged"
        before = len(run.bounds) < len(run.held_out)
        return f"{reason}; the model is that of pass {len(run.bounds)}" if before else reason

    def _seed_of(self, restart: int) -> int:
        """The seed of this restart."""
        return (self.seed * 1_000_003 + restart) % 2**63

    def _evaluate_held_out(self, run: RestartRun, validation: Rows) -> None:
        """Add the held-out bound of a pass; with patience keep the model of the best pass."""
        # a table that draws its rows must not change the run's random numbers
        with random_state_kept(gpus(run.model)):
            try:
                bound = float(held_out_bound(run.model, validation))
            except ValueError as error:
                raise ValueError(f"validation: {error}") from error
        if bound != bound:
            raise ArithmeticError(
                f"the held-out bound became nan in pass {len(run.bounds)}: the model has left the range of "
                "floating-point numbers on the validation rows; rescale the data, or look for outliers among them"
            )
        run.held_out.append(bound)
        if self.patience is not None and best_pass(run.held_out) == len(run.held_out) - 1:
            run.best = {name: value.detach().clone() for name, value in run.model.state_dict().items()}
            try:  # now, since a model may remember more of its last M-step than its state holds
                run.model.check()
                run.collapse_at_best = None
            except Collapse as collapse:
                run.collapse_at_best = collapse

    def _stop_reason(self, run: RestartRun) -> str | None:
        """The reason to stop after the last pass, or None."""
        if len(run.bounds) == 1:  # what is frozen does not change in a run
            moves = [parameter.requires_grad for parameter in run.model.parameters()]
            if moves and not any(moves):
                return ALL_FROZEN
        try:
            reason = self.engine.stop(run.bounds, self.max_passes)
        except ArithmeticError:
            run.model.check()  # a collapsed component lets rounding lower the bound: then that is the reason
            raise
        if reason is None and self.patience and len(run.held_out) - 1 - best_pass(run.held_out) >= self.patience:
            return EARLY_STOP.format(patience=self.patience)
        return reason
