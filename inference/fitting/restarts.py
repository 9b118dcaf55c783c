"""The runs of a fit, one for each restart: in turn, or, where it is EM on a small table, many of them in one tensor.

There, each begins where `RestartRunner.begin` has it begin, stops by the rule of the engine on its own bounds, and is then
dropped. What goes wrong in one is not told here: that restart is left to run in turn, where it goes wrong by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...models import Collapse
from .batched_restarts import can_batch, run_batched
from .progress import OnPass
from .restart_run import RestartRun, RestartRunner

BATCH_SIZE = 64  # restarts in one tensor: more save little, and memory grows with their number


def run_restarts(
    runner: RestartRunner,
    restarts: Sequence[int],
    on_pass: OnPass,
    passes: int | None = None,
    save: Callable[..., None] | None = None,
    resumed: Any = None,
) -> Iterator[tuple[int, RestartRun | Collapse]]:
    """These restarts in order, each with what came of it. save, resumed, passes: as `RestartRunner.run` has them."""
    together = save is None and can_batch(runner)
    for start in range(0, len(restarts), BATCH_SIZE):
        lot = restarts[start : start + BATCH_SIZE]
        ends = run_batched(runner, lot, on_pass, passes) if together and len(lot) > 1 else {}
        for restart in lot:
            try:
                end = ends.get(restart) or runner.run(restart, on_pass, save, resumed, passes)
            except Collapse as collapse:
                end = collapse
            yield restart, end
            resumed = None


def short_runs_then_best(runner: RestartRunner, restarts: int, on_pass: OnPass, passes: int) -> Iterator[tuple[int, RestartRun | Collapse]]:
    """The best of all restarts after so many passes, made long; before it, those that collapsed on the way, and those
    that were better but collapsed when they were made long."""
    scores = {}
    for restart, end in run_restarts(runner, range(restarts), on_pass, passes):
        if isinstance(end, Collapse):
            yield restart, end
        else:
            scores[restart] = runner.score(end)
    for restart in sorted(scores, key=scores.__getitem__, reverse=True):  # made again, but for rounding
        for _, end in run_restarts(runner, [restart], on_pass):
            yield restart, end
            if isinstance(end, RestartRun):
                return
