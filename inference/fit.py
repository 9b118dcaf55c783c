"""`fit`: one loop for every model and every engine, and `Fit`, what comes of it."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..models import Collapse, LatentModel, Rows
from ..models.rows import as_rows
from .evaluate import gradient_norm
from .progress import Report, reporter
from .threads import threads_for

SAME_OPTIMUM = 1e-4  # nats per row: two runs that end closer than this have found the same optimum

Model = TypeVar("Model", bound=LatentModel)


@runtime_checkable
class Engine(Protocol):
    """An inference algorithm: a frozen dataclass of its settings."""

    def passes(self, model: Any, rows: Rows, max_passes: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the bound of the model as it stands, in nats per row, then improve it in place; and so on."""
        ...

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """The reason to stop after these bounds, one per pass, or None if there is more to gain."""
        ...


@dataclass(frozen=True)
class Optimum:
    """One distinct end of the restarts: its bound in nats per row (None if collapsed) and how many runs ended there."""

    bound: float | None
    count: int
    collapsed: bool = False


@dataclass(frozen=True)
class Fit(Generic[Model]):
    """A fitted model and how it came about.

    model: the fitted copy. bounds: (passes,) float64, nats per row: bounds[t] is the bound at the parameters before the
    update of pass t, so bounds[-1] is that of `model`. times: (passes,) seconds from the start of the run to each of
    them. seconds: of all restarts together. converged, reason: whether and why it stopped. optima: the distinct optima
    of all restarts, best first, collapsed runs last. gradient_norm: of the bound in nats per row, in unconstrained
    parameters in units of the data. seed: what it was fitted with.
    """

    model: Model
    engine: Engine
    bounds: Float[Tensor, " passes"]
    times: Float[Tensor, " passes"]
    converged: bool
    reason: str
    seconds: float
    seed: int
    optima: tuple[Optimum, ...]
    gradient_norm: float

    def save(self, path: str | Path) -> None:
        """Write the fit to one file that `load` reads back to the same bits. Raises OSError if it cannot be written."""
        from .files import save

        save(self, path)

    def __repr__(self) -> str:
        return (
            f"Fit({type(self.model).__name__} by {self.engine}: bound {float(self.bounds[-1]):.6f} nats per row after "
            f"{len(self.bounds)} passes, {self.reason})"
        )


@dataclass(frozen=True)
class _Run:
    model: Any
    bounds: list[float]
    times: list[float]
    reason: str | None


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
) -> Fit[Model]:
    """Fit a copy of `model` to `x` by `engine` (`EM()`, `SVI()`) and return it with its history.

    x: (n, d) tensor, numpy or memory-mapped array, DataFrame, Dataset or DataLoader. weights: (n,) finite, not
    negative: a row of weight 2 counts as two. labels: (n,) known components, -1 where unknown. restarts: independent
    starts, of which the best bound is returned; the first begins at the model's parameters if they are set, the others
    at new ones drawn from the data. max_passes: visits to all rows. The same seed gives the same bits; torch's random
    state is left as it was. progress: a bar on the terminal.

    Raises TypeError or ValueError, in one sentence, for what cannot be fitted, `Collapse` if every restart shrank a
    component onto a few rows, and ArithmeticError if a bound stops being a number, or falls under EM.
    """
    for name, value in (("restarts", restarts), ("max_passes", max_passes)):
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
    if isinstance(engine, type) or not (hasattr(engine, "passes") and hasattr(engine, "stop")):
        raise TypeError(f"got {engine!r} as the engine, expected one such as EM() or SVI()")
    if not isinstance(model, LatentModel):
        lacks = [name for name in dir(LatentModel) if not name.startswith("_") and not hasattr(model, name)]
        raise TypeError(
            f"got {type(model).__name__} as the model, expected one such as GaussianMixture(2, 2): it lacks "
            + ", ".join(lacks)
        )
    if not isinstance(seed, Integral):
        raise ValueError(f"seed is {seed!r}, expected a whole number")
    rows = as_rows(x, weights, labels, model)
    began = time.perf_counter()
    runs: list[_Run] = []
    collapses: list[Collapse] = []
    with (
        torch.random.fork_rng(devices=[]),
        threads_for(len(rows) * rows.features),
        reporter(progress, type(engine).__name__, restarts, max_passes) as report,
    ):
        for restart in range(restarts):
            start = (int(seed) * 1_000_003 + restart) % 2**63
            torch.manual_seed(start)
            generator = torch.Generator().manual_seed(start)
            try:
                runs.append(_run(copy.deepcopy(model), rows, engine, max_passes, generator, restart, report))
            except Collapse as collapse:
                collapses.append(collapse)
        if not runs:
            raise Collapse(
                f"{'the run' if restarts == 1 else f'each of {restarts} runs'} ended in a singularity, where the "
                f'likelihood has no upper bound ({collapses[-1]}): give the model prior="weak", or more restarts, '
                "or fewer components; or drop columns that follow from others",
                collapses[-1].component,
            ) from collapses[-1]
        best = max(runs, key=lambda run: run.bounds[-1])
        slope = gradient_norm(best.model, rows)
    for parameter in best.model.parameters():
        parameter.grad = None
    return Fit(
        model=best.model,
        engine=engine,
        bounds=torch.tensor(best.bounds, dtype=torch.float64),
        times=torch.tensor(best.times, dtype=torch.float64),
        converged=best.reason is not None,
        reason=best.reason or f"stopped at max_passes={max_passes} before it converged",
        seconds=time.perf_counter() - began,
        seed=int(seed),
        optima=_distinct([run.bounds[-1] for run in runs], len(collapses)),
        gradient_norm=slope,
    )


def _run(
    model: Any, rows: Rows, engine: Engine, max_passes: int, generator: torch.Generator, restart: int, report: Report
) -> _Run:
    """One restart: the loop itself."""
    model.initialize(rows, None, generator, redraw=restart > 0)
    passes = engine.passes(model, rows, max_passes, generator)
    began = time.perf_counter()
    bounds: list[float] = []
    times: list[float] = []
    reason = None
    for bound in passes:
        bounds.append(float(bound))
        times.append(time.perf_counter() - began)
        if not torch.isfinite(bound):
            raise ArithmeticError(
                f"the bound became {float(bound)} in pass {len(bounds)}: the parameters have left the range of "
                "floating-point numbers; rescale the data, or take a smaller learning_rate"
            )
        report(restart, len(bounds), bounds[-1])
        try:
            reason = engine.stop(bounds, max_passes)
        except ArithmeticError:
            model.check()  # where a component has collapsed, rounding may lower the bound: that is the better reason
            raise
        if reason is not None or len(bounds) == max_passes:
            break
    model.check()  # at the end only: on the way to well separated clusters, one may be thin while another is still wide
    return _Run(model, bounds, times, reason)


def _distinct(bounds: Sequence[float], collapsed: int) -> tuple[Optimum, ...]:
    """The ends of the runs, best first, those within `SAME_OPTIMUM` of the best of them counted together."""
    optima: list[Optimum] = []
    for bound in sorted(bounds, reverse=True):
        if optima and optima[-1].bound is not None and optima[-1].bound - bound < SAME_OPTIMUM:
            optima[-1] = Optimum(optima[-1].bound, optima[-1].count + 1)
        else:
            optima.append(Optimum(bound, 1))
    return (*optima, Optimum(None, collapsed, True)) if collapsed else tuple(optima)
