"""`fit`: one loop for every model and every engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...data.threads import threads_for
from ...models import Collapse
from ...models.abilities import DoubtsComponents, Prepares
from ...models.random_state import gpus, random_state_kept
from ..engines.collectives import on_all_processes
from ..engines.contract import Engine, batch_size_of
from ..engines.convergence import NOT_A_MAXIMUM, says_no_gain
from ..engines.data_bound import gradient_norm
from ..engines.gradient_mode import gradients_enabled
from ..engines.processes import is_first
from ..engines.uphill import LARGE_GRADIENT, gain_uphill
from .checkpoint import Checkpoint
from .checkpoint_identity import describe_run
from .distributed_rows import rows_for_fit
from .fit_arguments import (
    require_consistent,
    require_counts,
    require_engine,
    require_least_rows,
    require_model,
    require_state,
    validation_rows,
)
from .fit_result import Fit, Model, Optimum
from .one_restart import RestartRunner, RestartsSoFar
from .progress import progress_bar
from .restarts import run_restarts, short_runs_then_best

SAME_OPTIMUM = 1e-4  # nats per row: two runs whose bounds differ by less have found the same optimum


@on_all_processes
@gradients_enabled()
def fit(
    model: Model,
    x: Any,
    engine: Engine,
    *,
    weights: Any = None,
    labels: Any = None,
    restarts: int = 1,
    max_passes: int = 500,
    seed: int = 0,
    progress: bool = False,
    validation: Any = None,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    short_passes: int | None = None,
    least_rows: float | None = None,
) -> Fit[Model]:
    """Fit a copy of `model` to `x` by `engine` and return it with its history: argmax_theta of the lower bound.

    The same seed gives the same bits, and torch's random state is left as it was. Where `torch.distributed` is
    initialized, every process calls this with the same arguments, and each reads its part of the rows (see `Local`);
    EM then finds the same parameters as one process, up to rounding.

    Args:
        model: The model to fit. It is not changed. If its parameters are set, the first restart begins there.
        x: (n, d) rows: a tensor, numpy or memory-mapped array, DataFrame, Dataset, DataLoader, `Rows` or `Local`.
        engine: `EM()`, `OnlineEM()`, `SVI()`, `NUTS()`, or your own engine (`Engine`).
        weights: (n,) finite and not negative; a row of weight 2 counts as two rows.
        labels: (n,) known components, -1 where unknown.
        restarts: Independent starts; the run with the best bound is returned. All starts after the first are drawn from
            the data. Restarts of EM on a small table (up to 65,536 cells) run side by side in one tensor, many times
            faster, where the family allows it and there is neither validation nor checkpoint. The results are the same
            up to rounding; their times are those of all restarts of the tensor.
        max_passes: The most visits to all rows in each run. The first one computes the bound of the start, and the
            parameters change from the second one on: `max_passes=1` returns the start.
        seed: A whole number from 0 to 2^63 - 1, from which all random numbers follow.
        progress: Show a bar on the standard error stream.
        validation: Held-out rows, as `x`, or `Rows` with weights and labels. Their bound is computed after every pass
            and changes nothing else.
        patience: Stop when the held-out bound has not risen above its best for this many passes, and return the model
            of the best pass; with several restarts, the one with the best held-out bound. None to leave it out.
        checkpoint: A file that is rewritten after every pass. If a run was killed, the same call resumes from it
            and gives the same bits, provided that rows and random numbers come from torch's random state. A call whose
            checkpoint is of a completed run returns at once. Delete the file when you no longer need it. Unless the
            engine takes batches, another number of processes may resume it.
        short_passes: Make this many passes of every restart first, and then only the best of them to its end (if it
            collapses, the next best, and so on): Biernacki, Celeux & Govaert, Computational Statistics & Data Analysis
            41 (2003), 561-575. `Fit.optima` then counts the long run, and the restarts that collapsed. None makes all
            runs long.
        least_rows: Leave out restarts that end with a component of fewer rows than this: a number of rows (of row
            weight), such as 10. Their optima are not in `Fit.optima`, and `Fit.reason` says how many there were. If
            all restarts end so, the best of them is returned, and the reason says so. None takes the best of all.

    Returns:
        The fitted model with the bound of every pass (`Fit`).

    Raises:
        TypeError: The model, the engine or the table is of the wrong kind, or the engine cannot fit this model.
        ValueError: An argument or a value of the table is out of its range, or the checkpoint is of another run.
        FileNotFoundError: The folder of the checkpoint does not exist.
        Collapse: Every restart ended in a singularity of the likelihood.
        ArithmeticError: A bound is not a finite number, or fell under EM.
        ConnectionError: Another process of the job has ended.

    Example:
        >>> import torch
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import GaussianMixture
        >>> x = torch.tensor([[0.0], [0.2], [0.7], [1.1], [4.0], [4.3], [4.4], [5.0]])
        >>> fitted = fit(GaussianMixture(2, 1), x, EM(), restarts=3)
        >>> sorted(round(mean, 2) for mean in fitted.model.family.loc.flatten().tolist())
        [0.5, 4.43]
        >>> round(float(fitted.bounds[-1]), 4)  # nats per row
        -1.1838
    """
    require_least_rows(least_rows, model)
    require_counts(restarts=restarts, max_passes=max_passes, patience=patience, short_passes=short_passes)
    require_engine(engine)
    require_model(model)
    if checkpoint is not None or patience is not None:
        require_state(model, "a checkpoint" if checkpoint is not None else "patience")
    require_consistent(seed, patience, validation, short_passes, checkpoint)
    file = None if checkpoint is None else Checkpoint(checkpoint)
    rows = rows_for_fit(x, weights, labels, model)
    with random_state_kept(gpus(model)):  # a table may draw its rows from torch's random state
        held_out = None if validation is None else validation_rows(validation, rows, model)
    runner = RestartRunner(model, rows, engine, max_passes, int(seed), held_out, patience, least_rows)
    if isinstance(model, Prepares):
        model.prepare()  # compiling takes seconds once, which are not counted as this fit's
    saved = None
    if file is not None:
        settings = {"seed": seed, "restarts": restarts, "max_passes": max_passes, "patience": patience}
        if least_rows is not None:  # earlier checkpoints do not have it
            settings["least_rows"] = float(least_rows)
        if rows.processes > 1 and batch_size_of(engine) is not None:
            settings["processes"] = rows.processes  # the number of steps in a pass depends on it
        with random_state_kept(gpus(model)):
            saved = file.read(describe_run(model, engine, rows, held_out, settings))
    with (
        random_state_kept(gpus(model)),
        threads_for(min(len(rows), batch_size_of(engine) or len(rows)) * rows.features),
        progress_bar(progress and is_first(), type(engine).__name__, restarts, max_passes) as on_pass,
    ):
        found = RestartsSoFar() if saved is None else saved.restarts_so_far(runner.begin)
        resumed = saved if saved is not None and saved.is_under_way else None
        began = time.perf_counter() - found.seconds

        def save(*under_way: Any) -> None:
            if file is not None:
                found.seconds = time.perf_counter() - began
                file.write(found, *under_way)

        if short_passes is None:
            remaining = range(found.restart, restarts)
            results = run_restarts(runner, remaining, on_pass, None, None if file is None else save, resumed)
        else:
            results = short_runs_then_best(runner, restarts, on_pass, short_passes)
        for restart, run in results:
            if isinstance(run, Collapse):
                found.collapses, found.collapse = found.collapses + 1, run
            else:
                (found.small_ends if runner.is_small(run) else found.final_bounds).append(run.bounds[-1])
                if found.winner is None or runner.order(run) > runner.order(found.winner):
                    found.winner = run
            found.restart = restart + 1
            if restart + 1 < restarts:
                save()
        best = found.winner
        if best is None:
            assert found.collapse is not None
            raise Collapse(
                f"{'the run' if restarts == 1 else f'each of {restarts} runs'} ended in a singularity, where the "
                f"likelihood has no upper bound ({found.collapse.args[0]})",
                found.collapse.component,
                found.collapse.cure,
            ) from found.collapse
        if found.gradient_norm is None:
            found.gradient_norm = gradient_norm(best.model, rows, best.statistics)
            found.seconds = time.perf_counter() - began
            save()
        converged, reason = best.reason is not None, runner.reason_of(best)
        early = patience is not None  # the model is then that of an earlier pass
        if best.outcome is None and not early and says_no_gain(best.reason) and found.gradient_norm > LARGE_GRADIENT:
            gain = gain_uphill(best.model, rows)
            if gain > SAME_OPTIMUM:
                converged, reason = False, NOT_A_MAXIMUM.format(norm=found.gradient_norm, gain=gain)
    for parameter in best.model.parameters():
        parameter.grad = None
    return Fit(
        model=best.model,
        engine=engine,
        bounds=torch.tensor(best.bounds, dtype=torch.float64),
        times=torch.tensor(best.times, dtype=torch.float64),
        converged=converged,
        reason=reason + _left_out(found, least_rows),
        seconds=found.seconds,
        seed=int(seed),
        optima=_distinct_optima(found.final_bounds or found.small_ends, found.collapses),
        gradient_norm=found.gradient_norm,
        held_out=torch.tensor(best.held_out, dtype=torch.float64) if best.held_out else None,
        doubts=tuple(best.model.doubts(rows.total_weight)) if isinstance(best.model, DoubtsComponents) else (),
    )


def _left_out(found: RestartsSoFar, least_rows: float | None) -> str:
    """What least_rows did, for the reason; empty if no restart ended with so small a component."""
    few, kept = len(found.small_ends), len(found.final_bounds)
    if not few:
        return ""
    if not kept:
        return f"; every restart ended with a component of fewer than {least_rows:g} rows, and this is the best of them"
    return f"; {few} restart{'s' if few > 1 else ''} with a component of fewer than {least_rows:g} rows left out"


def _distinct_optima(bounds: Sequence[float], collapsed: int) -> tuple[Optimum, ...]:
    """The distinct final bounds, best first; those within `SAME_OPTIMUM` of a better one are counted with it."""
    optima: list[Optimum] = []
    for bound in sorted(bounds, reverse=True):
        if optima and optima[-1].bound is not None and optima[-1].bound - bound < SAME_OPTIMUM:
            optima[-1] = Optimum(optima[-1].bound, optima[-1].count + 1)
        else:
            optima.append(Optimum(bound, 1))
    return (*optima, Optimum(None, collapsed, True)) if collapsed else tuple(optima)
