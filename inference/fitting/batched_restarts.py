"""Many restarts of EM on a small table in one tensor, which is many times as fast as in turn.

Each restart begins where `RestartRunner.begin` starts it, stops by the engine's rule on its own bounds, and is then
taken out of the tensor. A restart that fails here is left out of the result: it is then made in turn, and raises its
error there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import reduce
from operator import add

import torch

from ...data.threads import SMALL_TABLE
from ...models import Collapse
from ...models.contract import SupportsBatch
from ...models.mixtures.mixture_batch import Batch
from ..engines.batched_em import BatchedEM
from ..engines.convergence import judged_after
from ..engines.em import EM
from .one_restart import RestartRun, RestartRunner
from .progress import OnPass


def can_batch(runner: RestartRunner) -> bool:
    """Whether the engine and the rows allow restarts in one tensor: EM on a small table.

    On a small table a pass costs calls rather than arithmetic, and one tensor saves calls.
    """
    rows = runner.rows
    small = rows.is_fixed and len(rows) * rows.features <= SMALL_TABLE
    return type(runner.engine) is EM and runner.validation is None and small and isinstance(runner.model, SupportsBatch)


def run_batched(
    runner: RestartRunner, restarts: Sequence[int], on_pass: OnPass, passes: int | None
) -> dict[int, RestartRun | Collapse]:
    """Make these restarts, or only `passes` passes of each, after which models are not checked.

    Only the best run has its model. Restarts that are missing from the result must be made in turn.
    """
    engine = runner.engine
    assert isinstance(engine, EM)
    try:
        model, _ = runner.begin(restarts[0])
        began = time.perf_counter()
        batch: Batch | None = model.batch(runner.rows, [runner.generator(restart) for restart in restarts[1:]])
    except (ArithmeticError, ValueError):  # one of them failed
        return {}
    if batch is None:
        return {}
    rows = runner.rows.merged
    chunks = [chunk.arguments for chunk in rows.chunks()]
    running = [(restart, RestartRun(None)) for restart in restarts]
    results: dict[int, RestartRun | Collapse] = {}
    best: tuple[int, RestartRun] | None = None
    best_order: tuple = ()
    steps = BatchedEM(batch, lambda: rows.reduced(lambda: reduce(add, (batch.expect(*chunk) for chunk in chunks))))
    while running:
        running = [running[i] for i in steps.advance().tolist()]
        bounds = steps.bounds.tolist() if running else []
        now = time.perf_counter() - began
        going, ended = [], []
        for i, ((_, run), bound) in enumerate(zip(running, bounds, strict=True)):
            run.bounds.append(bound)
            run.times.append(now)
            try:
                run.reason = runner.engine.stop(run.bounds, runner.max_passes) if math.isfinite(bound) else None
            except ArithmeticError:
                continue
            if run.reason is not None or len(run.bounds) in (runner.max_passes, passes):
                ended.append(i)
            elif math.isfinite(bound):
                going.append(i)
        for i in sorted({0, *ended}):
            restart, run = running[i]
            on_pass(restart, len(run.bounds), run.bounds[-1], None)
        collapsed = batch.collapsed().tolist() if ended and passes is None else [False] * len(running)
        for i in ended:
            restart, run = running[i]
            try:
                if collapsed[i]:
                    batch.copy_of(i).check()
            except Collapse as collapse:
                results[restart] = collapse
                continue
            results[restart] = run
            if runner.least_rows is not None and passes is None:
                run.fewest_rows = float(batch.weights[i].min()) * runner.rows.counted_rows
            order = *(runner.order(run) if passes is None else (True, run.bounds[-1])), -restart
            if best is None or order > best_order:
                best_order = order
                best = restart, run
                batch.copy_into(i, model)
        if len(going) < len(running):
            running = [running[i] for i in going]
            steps.keep(torch.tensor(going, dtype=torch.long))
        made = len(running[0][1].bounds) if running else 0
        if made == 1 or judged_after(made):
            steps.accelerate(torch.tensor([engine.accelerated(run.bounds) for _, run in running]))
    if best is not None:
        best[1].model = model
    return results
