"""Restarts of a model that makes its passes ahead: one model and its compiled passes take one start after another."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

from ...models import Collapse
from ...models.abilities import MakesPassesAhead
from ..engines.em import EM
from ..engines.em_ahead import AheadSteps
from .one_restart import RestartRun, RestartRunner
from .progress import OnPass


def can_repeat(runner: RestartRunner) -> bool:
    """Whether the model may make passes ahead, and no run needs a model of its own but the best."""
    plain = type(runner.engine) is EM and runner.validation is None and runner.least_rows is None
    return plain and runner.rows.processes == 1 and isinstance(runner.model, MakesPassesAhead)


def run_repeated(
    runner: RestartRunner, restarts: Sequence[int], on_pass: OnPass, passes: int | None
) -> Iterator[tuple[int, RestartRun | Collapse]] | None:
    """Make these restarts, or only `passes` passes of each, after which models are not checked.

    Runs that are not better than those before them have no model. None if the engine makes no passes ahead.
    """
    model, generator = runner.begin(restarts[0])
    steps = runner.engine.passes(model, runner.rows, runner.max_passes, generator)
    return _runs(runner, restarts, on_pass, passes, model, steps) if isinstance(steps, AheadSteps) else None


def _runs(
    runner: RestartRunner, restarts: Sequence[int], on_pass: OnPass, passes: int | None, model: MakesPassesAhead,
    steps: AheadSteps,
) -> Iterator[tuple[int, RestartRun | Collapse]]:  # fmt: skip
    best = None
    for restart in restarts:
        if restart != restarts[0]:
            steps.restart(runner.rows, runner.generator(restart))
        run = RestartRun(model)
        runner.follow(run, steps, restart, on_pass, passes)
        if passes is None:
            try:
                run.model.check()
            except Collapse as collapse:
                yield restart, collapse
                continue
        better = best is None or runner.score(run) > best
        run.model = copy.deepcopy(model) if better else None
        best = runner.score(run) if better else best
        yield restart, run
