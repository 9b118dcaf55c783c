"""Online EM: an M-step after every batch, from statistics averaged over the batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ...models import Rows, Statistics, SupportsEM
from .contract import require_batch_size
from .convergence import NO_PROGRESS, ONLY_ROUNDING_LEFT, is_rounding
from .data_bound import expectation
from .em_steps import require_em, restored_statistics

# Any length below 1 makes a generalized M-step the plain EM step, the only kind that averaged statistics allow.
EM_STEP = 0.5
PATIENCE = 10  # passes
SKIP_AHEAD = 2  # the batch number is multiplied by it after a pass that lowered the bound: later steps are shorter
FIRST_ROWS = 1024  # rows drawn from the seeded model, whose statistics a stream starts with


@dataclass(frozen=True)
class OnlineEM:
    """Stochastic approximation EM: s <- (1 - g) s + g s_t after batch t, then theta <- M-step of s.

    s_t are the expected statistics of the batch, per row, and g = (t + 2)^-exponent. The bound of a pass needs the
    E-step of all rows; the pass begins with the statistics of that E-step, so that noise does not add up over passes. A
    run therefore converges to the optimum of EM, as closely as its last steps are short. `KMeans` and `FamilyOf` raise
    TypeError, since their statistics cannot be averaged.

    Args:
        batch_size: Rows for each M-step; in a job of several processes, rows of each process.
        exponent: How fast the steps g shrink, above 0.5 and at most 1.
        tol: Stop when the best bound has risen by less than this in 10 passes, in nats per row. 0.0 runs all passes.

    Raises:
        ValueError: A setting is out of its range.

    Example:
        >>> import torch
        >>> from lowerbound.inference import OnlineEM, fit
        >>> from lowerbound.models import GaussianMixture
        >>> x = torch.tensor([[0.0], [0.2], [0.7], [1.1], [4.0], [4.3], [4.4], [5.0]])
        >>> fitted = fit(GaussianMixture(2, 1), x, OnlineEM(batch_size=4), max_passes=50)
        >>> round(float(fitted.bounds[-1]), 2)
        -1.18

    References:
        Cappe & Moulines, On-line expectation-maximization algorithm for latent data models, Journal of the Royal
        Statistical Society B 71 (2009), 593-613.
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
        """The passes of online EM over these rows, as `Engine.passes` describes them."""
        require_em(model, "OnlineEM")
        require_batch_size(self, rows)
        return OnlineEMSteps(self, model, rows, generator)

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """The reason to stop after these bounds, or None."""
        if self.tol > 0 and len(bounds) > PATIENCE and max(bounds) - max(bounds[:-PATIENCE]) < self.tol:
            return NO_PROGRESS.format(tol=self.tol, passes=PATIENCE)
        short = 1 < len(bounds) == max_passes <= PATIENCE
        if short and is_rounding(max(bounds) - min(bounds), bounds[-1]):
            return ONLY_ROUNDING_LEFT
        return None

    def follow(self, model: Any, batches: Iterable[Any]) -> Iterator[float]:
        """Improve `model` in place by a stream of batches, each read once; yield how well it predicted each of them.

        Args:
            model: A model that is seeded: `lowerbound.models.seed(model, first_rows)`.
            batches: Tables, as `fit` takes them, of similar size and large enough to tell something about every
                component: a few hundred rows. The prior counts as in a table of all rows so far.

        Yields:
            The mean bound of each batch before the model learned from it, in nats per row.

        Raises:
            TypeError: The model has no E-step and M-step, or its statistics cannot be averaged.
            ValueError: The model cannot read a batch.
            Collapse: A component has shrunk onto a few rows.

        Example:
            >>> import torch
            >>> from lowerbound.inference import OnlineEM
            >>> from lowerbound.models import GaussianMixture, seed
            >>> x = torch.cat([torch.linspace(-1, 1, 50), torch.linspace(7, 9, 50)]).unsqueeze(1)
            >>> model = seed(GaussianMixture(2, 1), x)
            >>> bounds = list(OnlineEM().follow(model, [x] * 20))
            >>> round(bounds[-1], 2)
            -1.58
        """
        require_em(model, "OnlineEM")
        mean = _scaled(drawn := model.expect(model.sample(FIRST_ROWS, seed=0)), 1 / FIRST_ROWS)
        model.remeasure(drawn)  # raises TypeError if statistics cannot be averaged
        rows = 0
        for number, x in enumerate(batches, 1):
            new = model.expect(x)
            rows += len(x)
            mean = self._step(model, mean, new, len(x), number, rows)
            yield float(new.bound / new.total_weight)

    def _step(
        self, model: Any, mean: Statistics, new: Statistics, size: int, number: int, rows: int, fraction: float = 1.0
    ) -> Statistics:
        """Step `number`, from 1: average `new`, the sums of a batch of `size` rows, into `mean`, the mean of a row.

        Then make the M-step as for a table of `rows` rows, and return the mean in the origins and units of the new
        parameters. fraction: of the full step, for a batch that is smaller than the others.
        """
        step = fraction * (number + 2) ** -self.exponent
        mean = _scaled(mean, 1 - step) + _scaled(new, step / size)
        model.maximize(_scaled(mean, rows), *([EM_STEP] if model.generalized else []))
        return model.remeasure(mean)


class OnlineEMSteps:
    """The passes of online EM over one table: what `OnlineEM.passes` returns."""

    def __init__(self, engine: OnlineEM, model: SupportsEM, rows: Rows, generator: torch.Generator):
        self.engine, self.model, self.rows, self.generator = engine, model, rows, generator
        self.last: Statistics | None = None  # of all rows, at the current parameters
        self.number = 0  # of batches so far, by which the steps shrink
        self.bound = -torch.inf  # of the last pass

    def __iter__(self) -> OnlineEMSteps:
        return self

    def __next__(self) -> Tensor:
        if self.last is not None:
            self._improve(self.last)
        self.last, bound = expectation(self.model, self.rows)
        if bound < self.bound:
            self.number *= SKIP_AHEAD
        self.bound = float(bound)
        return bound

    def state_dict(self) -> dict[str, Tensor]:
        """The statistics of all rows, the number of batches and the last bound."""
        own = {"number": torch.tensor(self.number), "last_bound": torch.tensor(self.bound, dtype=torch.float64)}
        return own if self.last is None else own | vars(self.last)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore that state, for a model whose own state is restored."""
        self.number, self.bound = int(state["number"]), float(state["last_bound"])
        self.last = restored_statistics(self.model, self.rows, state, "") if len(state) > 2 else None

    def _improve(self, last: Statistics) -> None:
        """One pass: an M-step for each batch."""
        self.model.remeasure(last)  # raises TypeError if statistics cannot be averaged
        rows = self.rows.positive
        mean = _scaled(last, 1 / rows)
        full = self.engine.batch_size * self.rows.processes
        for batch in self.rows.batches(self.engine.batch_size, self.generator):
            self.number += 1
            arguments = batch.arguments
            new = self.rows.reduced(lambda a=arguments: self.model.expect(*a))
            size = self.rows.reduced(lambda a=arguments: len(a[0]))
            mean = self.engine._step(self.model, mean, new, size, self.number, rows, min(1.0, size / full))


def _scaled(statistics: Statistics, factor: float) -> Statistics:
    """The sums times a number."""
    return replace(statistics, **{f.name: factor * vars(statistics)[f.name] for f in fields(Statistics)})
