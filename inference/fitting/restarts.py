"""All restarts of a fit: in turn, or many in one tensor; and short runs of all of them before one long run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...models import Collapse
from .batched_restarts import can_batch, run_batched
from .one_restart import RestartRun, RestartRunner
from .progress import OnPass
from .repeated_restarts import can_repeat, run_repeated

BATCH_SIZE = 64  # restarts in one tensor: more save little time and need more memory


def run_restarts(
    runner: RestartRunner,
    restarts: Sequence[int],
    on_pass: OnPass,
    passes: int | None = None,
    save: Callable[..., None] | None = None,
    resumed: Any = None,
) -> Iterator[tuple[int, RestartRun | Collapse]]:
    """Make these restarts in order, and yield each with its run or its collapse.

    passes, save, resumed: as `RestartRunner.run` takes them; `resumed` is for the first restart.
    """
    if save is None and len(restarts) > 1 and can_repeat(runner):
        results = run_repeated(runner, restarts, on_pass, passes)
        if results is not None:
            yield from results
            return
    batched = save is None and can_batch(runner)
    for start in range(0, len(restarts), BATCH_SIZE):
        batch = restarts[start : start + BATCH_SIZE]
        side_by_side = run_batched(runner, batch, on_pass, passes) if batched and len(batch) > 1 else {}
        for restart in batch:
            try:
                result = side_by_side.get(restart) or runner.run(restart, on_pass, save, resumed, passes)
            except Collapse as collapse:
                result = collapse
            yield restart, result
            resumed = None


def short_runs_then_best(
    runner: RestartRunner, restarts: int, on_pass: OnPass, passes: int
) -> Iterator[tuple[int, RestartRun | Collapse]]:
    """Make this many passes of every restart, then run the best one to its end, and yield it.

    Before it come the restarts that collapsed in their short run, and those that were better after it but collapsed in
    their long run.
    """
    scores = {}
    for restart, result in run_restarts(runner, range(restarts), on_pass, passes):
        if isinstance(result, Collapse):
            yield restart, result
        else:
            scores[restart] = runner.score(result)
    # the long run begins at the start of the restart again: the same parameters up to rounding
    for restart in sorted(scores, key=scores.__getitem__, reverse=True):
        for _, result in run_restarts(runner, [restart], on_pass):
            yield restart, result
            if isinstance(result, RestartRun) and not runner.is_small(result):
                return
