"""Online EM: an M-step after every batch, from statistics that are averaged over the batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ...models import Rows, Statistics, SupportsEM
from .convergence import NO_PROGRESS
from .data_bound import expectation
from .svi import require_batches

AHEAD = 0.5  # any length below 1: of a generalized M-step the one that averaged statistics allow, EM's own
PATIENCE = 10  # passes
SLOWER = 2  # how many times further on in the sequence of steps a run is after a pass that lowered its bound
WARM = 1024  # rows that a stream starts with, drawn from the model as it was seeded


@dataclass(frozen=True)
class OnlineEM:
    """Stochastic approximation EM: after each batch s <- (1 - g) s + g (its expected statistics, per row), parameters
    <- M-step of s, with g = (t + 2)^-exponent at batch t = 1, 2, ... Cappe & Moulines, Journal of the Royal Statistical
    Society B 71 (2009), 593-613.

    batch_size: rows for each M-step (of each process, where several share the table). exponent: above 0.5, up to 1: how
    fast the steps g shrink. The bound of a pass takes the E-step of all rows; its statistics come with it, and are
    those that the pass begins with, so that noise does not add up over passes, and a run ends where EM does, as closely
    as its last steps are short.
    tol: stop when 10 passes in a row have not raised the best bound by this much, in nats per row; 0.0 runs all passes.

    For `KMeans` and `FamilyOf`, whose statistics cannot be averaged, this is refused.
    """

    batch_size: int = 256
    exponent: float = 0.6
    tol: float = 1e-7

    def __post_init__(self):
        if not (isinstance(self.batch_size, Integral) and self.batch_size >= 1):
            raise ValueError(f"batch_size is {self.batch_size!r}, expected a whole number of rows of at least 1")
        if not 0.5 < self.exponent <= 1:
            raise ValueError(
                f"exponent is {self.exponent!r}, expected more than 0.5 and at most 1: the steps must shrink, but "
                "their sum grow without bound"
            )
        if not self.tol >= 0:
            raise ValueError(f"tol is {self.tol!r}, expected nats per row of at least 0")

    def passes(self, model: Any, rows: Rows, max_passes: int, generator: torch.Generator) -> OnlineEMSteps:
        """Yield the bound, nats per row, of the model as it stands, then improve it in place; and so on."""
        _require_em(model)
        require_batches(self, rows)
        return OnlineEMSteps(self, model, rows, generator)

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """The reason to stop after these bounds, or None."""
        if self.tol > 0 and len(bounds) > PATIENCE and max(bounds) - max(bounds[:-PATIENCE]) < self.tol:
            return NO_PROGRESS.format(tol=self.tol, passes=PATIENCE)
        return None

    def follow(self, model: Any, batches: Iterable[Any]) -> Iterator[float]:
        """Improve `model` in place by one look at each of `batches` (tables, as `fit` takes them), and yield for each
        its mean bound before it was learnt from, in nats per row: how well the model foretold it.

        The model must be seeded (`lowerbound.models.seed(model, first_rows)`). Batches should be of like size, and
        large enough to say something of every component: some hundred rows. A prior counts as in a table of the rows so
        far. Raises ValueError for what the model cannot read, and `Collapse`, as `fit` does.
        """
        _require_em(model)
        mean = _scaled(drawn := model.expect(model.sample(WARM, seed=0)), 1 / WARM)
        model.remeasure(drawn)  # raises where statistics cannot be averaged
        rows = 0
        for number, x in enumerate(batches, 1):
            new = model.expect(x)
            rows += len(x)
            mean = self._step(model, mean, new, len(x), number, rows)
            yield float(new.bound / new.total_weight)

    def _step(
        self, model: Any, mean: Statistics, new: Statistics, size: int, number: int, rows: int, share: float = 1.0
    ) -> Statistics:
        """Step `number`, from 1: take `new`, the sums of a batch of `size` rows, into the mean of a row, improve the
        model as if it were of so many `rows`, and return the mean as it measures then."""
        step = share * (number + 2) ** -self.exponent
        mean = _scaled(mean, 1 - step) + _scaled(new, step / size)
        model.maximize(_scaled(mean, rows), *([AHEAD] if model.generalized else []))
        return model.remeasure(mean)


class OnlineEMSteps:
    """The passes of online EM over one data set: what `OnlineEM.passes` returns."""

    def __init__(self, engine: OnlineEM, model: SupportsEM, rows: Rows, generator: torch.Generator):
        self.engine, self.model, self.rows, self.generator = engine, model, rows, generator
        self.last: Statistics | None = None  # of all rows, at the parameters as they stand
        self.number = 0  # of batches so far, by which the steps shrink
        self.bound = -torch.inf  # of the last pass

    def __iter__(self) -> OnlineEMSteps:
        return self

    def __next__(self) -> Tensor:
        if self.last is not None:
            self._improve(self.last)
        self.last, bound = expectation(self.model, self.rows)
        if bound < self.bound:
            self.number *= SLOWER
        self.bound = float(bound)
        return bound

    def state_dict(self) -> dict[str, Tensor]:
        """The statistics of all rows, and how many batches there were."""
        own = {"number": torch.tensor(self.number), "last_bound": torch.tensor(self.bound, dtype=torch.float64)}
        return own if self.last is None else own | vars(self.last)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there, with a model that is as it was there."""
        self.number, self.bound = int(state["number"]), float(state["last_bound"])
        sums = {field.name: state[field.name] for field in fields(Statistics) if field.name in state}
        self.last = Statistics(**sums) if sums else None

    def _improve(self, last: Statistics) -> None:
        """One pass: an M-step for each batch."""
        self.model.remeasure(last)  # raises where statistics cannot be averaged
        rows = self.rows.positive
        mean = _scaled(last, 1 / rows)
        whole = self.engine.batch_size * self.rows.processes
        for batch in self.rows.batches(self.engine.batch_size, self.generator):
            self.number += 1
            arguments = batch.arguments
            new = self.rows.reduced(lambda a=arguments: self.model.expect(*a))
            size = self.rows.reduced(lambda a=arguments: len(a[0]))
            mean = self.engine._step(self.model, mean, new, size, self.number, rows, min(1.0, size / whole))


def _scaled(statistics: Statistics, factor: float) -> Statistics:
    """The sums times a number."""
    return replace(statistics, **{f.name: factor * getattr(statistics, f.name) for f in fields(Statistics)})


def _require_em(model: Any) -> None:
    if not isinstance(model, SupportsEM):
        raise TypeError(
            f"OnlineEM needs expect(), maximize() and carry(), which {type(model).__name__} does not have: fit it with "
            "SVI()"
        )
