"""The runs of a fit, one for each restart: in turn, or, where it is EM on a small table, many of them in one tensor.

There, each begins where `Task.begin` has it begin, stops by the rule of the engine on its own bounds, and is then
dropped. What goes wrong in one is not told here: that restart is left to run in turn, where it goes wrong by itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any

import torch

from ...data.threads import SMALL_TABLE
from ...models import Collapse
from ...models.contract import SupportsBatch
from ...models.mixtures.mixture_batch import Batch
from ..engines.em import EM
from .progress import Report
from .run import Run, Task

LOT = 64  # restarts in one tensor: more save little, and memory grows with their number


def runs(
    task: Task,
    restarts: Sequence[int],
    report: Report,
    passes: int | None = None,
    save: Callable[..., None] | None = None,
    resumed: Any = None,
) -> Iterator[tuple[int, Run | Collapse]]:
    """These restarts in order, each with what came of it. save, resumed, passes: as `Task.run` has them."""
    together = save is None and _fit_together(task)
    for start in range(0, len(restarts), LOT):
        lot = restarts[start : start + LOT]
        ends = _run_together(task, lot, report, passes) if together and len(lot) > 1 else {}
        for restart in lot:
            try:
                end = ends.get(restart) or task.run(restart, report, save, resumed, passes)
            except Collapse as collapse:
                end = collapse
            yield restart, end
            resumed = None


def short_then_long(task: Task, restarts: int, report: Report, passes: int) -> Iterator[tuple[int, Run | Collapse]]:
    """The best of all restarts after so many passes, made long; before it, those that collapsed on the way, and those
    that were better but collapsed when they were made long."""
    scores = {}
    for restart, end in runs(task, range(restarts), report, passes):
        if isinstance(end, Collapse):
            yield restart, end
        else:
            scores[restart] = task.score(end)
    for restart in sorted(scores, key=scores.__getitem__, reverse=True):  # made again, but for rounding
        for _, end in runs(task, [restart], report):
            yield restart, end
            if isinstance(end, Run):
                return


def _fit_together(task: Task) -> bool:
    """Whether the restarts of a task may run in one tensor, as far as the engine and the rows are concerned: by EM, on
    a table so small that a pass is calls rather than arithmetic."""
    rows = task.rows
    small = rows.is_fixed and len(rows) * rows.features <= SMALL_TABLE
    plain = type(task.engine) is EM and task.engine.accelerate is None
    return plain and task.validation is None and small and isinstance(task.model, SupportsBatch)


def _run_together(task: Task, restarts: Sequence[int], report: Report, passes: int | None) -> dict[int, Run | Collapse]:
    """These restarts from their starts to their ends, or up to so many `passes`, where models are not checked. Only the
    best one has its model. Those that are missing are to run in turn."""
    try:
        model, _ = task.begin(restarts[0])
        began = time.perf_counter()
        batch: Batch | None = model.batch(task.rows, [task.generator(restart) for restart in restarts[1:]])
    except (ArithmeticError, ValueError):  # of one of them
        return {}
    if batch is None:
        return {}
    rows = task.rows.merged
    chunks = [chunk.arguments for chunk in rows.chunks()]
    running = [(restart, Run(None)) for restart in restarts]
    outcomes: dict[int, Run | Collapse] = {}
    best: tuple[int, Run] | None = None
    statistics = None
    while running:
        if statistics is not None:
            able = batch.maximize(statistics).tolist()
            running = [each for each, going in zip(running, able, strict=True) if going]
            if not running:
                break
        statistics = rows.reduced(lambda e=batch.expect: reduce(add, (e(*chunk) for chunk in chunks)))
        bounds = ((statistics.bound + batch.global_term()) / statistics.total_weight).tolist()
        now = time.perf_counter() - began
        going, ended = [], []
        for i, ((_, run), bound) in enumerate(zip(running, bounds, strict=True)):
            run.bounds.append(bound)
            run.times.append(now)
            try:
                run.reason = task.engine.stop(run.bounds, task.max_passes) if math.isfinite(bound) else None
            except ArithmeticError:
                continue
            if run.reason is not None or len(run.bounds) in (task.max_passes, passes):
                ended.append(i)
            elif math.isfinite(bound):
                going.append(i)
        for i in sorted({0, *ended}):
            restart, run = running[i]
            report(restart, len(run.bounds), run.bounds[-1], None)
        thin = batch.collapsed().tolist() if ended and passes is None else [False] * len(running)
        for i in ended:
            restart, run = running[i]
            try:
                if thin[i]:
                    batch.copy_of(i).check()
            except Collapse as collapse:
                outcomes[restart] = collapse
                continue
            outcomes[restart] = run
            if best is None or (run.bounds[-1], -restart) > (best[1].bounds[-1], -best[0]):
                best = restart, run
                batch.write(i, model)
        if len(going) < len(running):
            running, kept = [running[i] for i in going], torch.tensor(going, dtype=torch.long)
            statistics = batch.keep(kept, statistics)
    if best is not None:
        best[1].model = model
    return outcomes
