"""`fit`: one loop for every model and every engine, and `Fit`, what comes of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import torch

from ...data.threads import threads_for
from ...models import Collapse, LatentModel, Rows
from ...models.random_state import gpus
from ..engines.contract import Engine
from ..engines.data_bound import gradient_norm
from ..engines.processes import is_first
from ..engines.collectives import on_all_processes
from .checkpoint import Checkpoint
from .run_description import describe_run
from .fit_result import Fit, Model, Optimum
from .progress import progress_bar
from .restarts import run_restarts, short_runs_then_best
from .restart_run import RestartsSoFar, RestartRunner
from .distributed_rows import rows_for_fit

SAME_OPTIMUM = 1e-4  # nats per row: two runs that end closer than this have found the same optimum


@on_all_processes
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
) -> Fit[Model]:
    """Fit a copy of `model` to `x` by `engine` (`EM()`, `SVI()`) and return it with its history.

    x: (n, d) tensor, numpy or memory-mapped array, DataFrame, Dataset or DataLoader. weights: (n,) finite, not
    negative: a row of weight 2 counts as two. labels: (n,) known components, -1 where unknown. restarts: independent
    starts, of which the best bound is returned; the first begins at the model's parameters if they are set, the others
    at new ones drawn from the data. (EM takes them together on a small table without gaps, of a model that can, without
    frozen parameters, validation or checkpoint: many times faster.) max_passes: visits to all rows. The same seed gives
    the same bits; torch's random state is left as it was. progress: a bar on the terminal.

    validation: other rows, as x, or `Rows` with weights and labels; their bound is taken at every pass, and changes
    nothing else. patience: stop when it has not risen above its best for so many passes, and return the model of the
    best pass; of the restarts then the one of the best held-out bound.

    checkpoint: a file, written anew after every pass. A run that was killed goes on from it, called in the same way
    again, and ends in the same bits as if it had not been, if the rows and random numbers come from torch's random
    state and not from one of their own; one that has ended returns at once. It is the caller's to delete. Unless the
    engine takes batches, another number of processes may go on with it.

    short_passes: first make so many passes of every restart, and then only the best of them to its end (if it ends in a
    singularity, the next best, and so on): short runs of EM to start a long one, Biernacki, Celeux & Govaert,
    Computational Statistics & Data Analysis 41 (2003), 561-575. `Fit.optima` then counts the long run alone, and those
    that collapsed; None makes all runs long.

    Restarts of EM on a small table, of up to 65,536 cells, are made side by side in one tensor, where the family allows
    it and there is neither validation nor checkpoint: many times as fast, from the same starts, with the same ends but
    for rounding. Their times are those of all together.

    Where `torch.distributed` is initialized, every process calls this with the same arguments, and each reads its part
    of the rows (`lowerbound.inference.distributed`): by EM to the same parameters as one process, but for rounding.

    Raises TypeError or ValueError, in one sentence, for what cannot be fitted and for a checkpoint of another run,
    FileNotFoundError if its folder is missing, `Collapse` if every restart shrank a component onto a few rows, and
    ArithmeticError if a bound stops being a number, or falls under EM; ConnectionError if a process of the job is gone.
    """
    optional = (("patience", patience), ("short_passes", short_passes))
    for name, value in (("restarts", restarts), ("max_passes", max_passes), *optional):
        if not ((isinstance(value, Integral) and value >= 1) or ((name, value) in optional and value is None)):
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
    if isinstance(engine, type) or not (hasattr(engine, "passes") and hasattr(engine, "stop")):
        raise TypeError(f"got {engine!r} as the engine, expected one such as EM() or SVI()")
    if isinstance(model, (type, Fit)):
        what = f"the class {model.__name__}" if isinstance(model, type) else "a fit"
        cure = f"{model.__name__}(...)" if isinstance(model, type) else "its .model"
        raise TypeError(f"got {what} as the model, expected a model: pass {cure}")
    if not isinstance(model, LatentModel):
        lacks = [name for name in dir(LatentModel) if not name.startswith("_") and not hasattr(model, name)]
        raise TypeError(
            f"got {type(model).__name__} as the model, expected one such as GaussianMixture(2, 2): it lacks "
            + ", ".join(lacks)
        )
    if not isinstance(seed, Integral):
        raise ValueError(f"seed is {seed!r}, expected a whole number")
    if patience is not None and validation is None:
        raise ValueError(f"patience is {patience} without validation: pass validation=rows that are held out")
    if short_passes is not None and checkpoint is not None:
        raise ValueError("got short_passes with a checkpoint, which keeps one run to its end: leave one of them out")
    file = None if checkpoint is None else Checkpoint(checkpoint)
    rows = rows_for_fit(x, weights, labels, model)
    with torch.random.fork_rng(devices=gpus(model)):  # a table that draws its rows leaves no trace, either
        held = None if validation is None else _validation_rows(validation, rows, model)
    runner = RestartRunner(model, rows, engine, max_passes, int(seed), held, patience)
    if (prepare := getattr(model, "prepare", None)) is not None:
        prepare()  # takes seconds once, which are not this fit's
    saved = None
    if file is not None:
        settings = {"seed": seed, "restarts": restarts, "max_passes": max_passes, "patience": patience}
        if rows.processes > 1 and getattr(engine, "batch_size", None) is not None:
            settings["processes"] = rows.processes  # whose number says how many steps a pass has
        with torch.random.fork_rng(devices=gpus(model)):
            saved = file.read(describe_run(model, engine, rows, held, settings))
    with (
        torch.random.fork_rng(devices=gpus(model)),
        threads_for(min(len(rows), getattr(engine, "batch_size", None) or len(rows)) * rows.features),
        progress_bar(progress and is_first(), type(engine).__name__, restarts, max_passes) as on_pass,
    ):
        found = RestartsSoFar() if saved is None else saved.found(runner.begin)
        resumed = saved if saved is not None and saved.is_under_way else None
        began = time.perf_counter() - found.seconds

        def save(*under_way: Any) -> None:
            if file is not None:
                found.seconds = time.perf_counter() - began
                file.write(found, *under_way)

        if short_passes is None:
            ends = run_restarts(runner, range(found.restart, restarts), on_pass, None, None if file is None else save, resumed)
        else:
            ends = short_runs_then_best(runner, restarts, on_pass, short_passes)
        for restart, run in ends:
            if isinstance(run, Collapse):
                found.collapses, found.collapse = found.collapses + 1, run
            else:
                found.final_bounds.append(run.bounds[-1])
                if found.winner is None or runner.score(run) > runner.score(found.winner):
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
    for parameter in best.model.parameters():
        parameter.grad = None
    return Fit(
        model=best.model,
        engine=engine,
        bounds=torch.tensor(best.bounds, dtype=torch.float64),
        times=torch.tensor(best.times, dtype=torch.float64),
        converged=best.reason is not None,
        reason=runner.reason_of(best),
        seconds=found.seconds,
        seed=int(seed),
        optima=_distinct_optima(found.final_bounds, found.collapses),
        gradient_norm=found.gradient_norm,
        held_out=torch.tensor(best.held_out, dtype=torch.float64) if best.held_out else None,
    )


def _validation_rows(validation: Any, rows: Rows, model: Any) -> Rows:
    """The validation rows, read by the names and codes of the rows of the fit."""
    try:
        held = rows_for_fit(validation, None, None, model if rows.schema is None else rows)
        columns = held.features
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"validation: {error}") from error
    if columns != rows.features:
        raise ValueError(f"validation has {columns} columns, expected {rows.features}, as the rows of the fit")
    return held


def _distinct_optima(bounds: Sequence[float], collapsed: int) -> tuple[Optimum, ...]:
    """The ends of the runs, best first, those within `SAME_OPTIMUM` of the best of them counted together."""
    optima: list[Optimum] = []
    for bound in sorted(bounds, reverse=True):
        if optima and optima[-1].bound is not None and optima[-1].bound - bound < SAME_OPTIMUM:
            optima[-1] = Optimum(optima[-1].bound, optima[-1].count + 1)
        else:
            optima.append(Optimum(bound, 1))
    return (*optima, Optimum(None, collapsed, True)) if collapsed else tuple(optima)
