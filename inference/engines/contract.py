"""The contract of an engine, read by the author of a new one.

What to write, at the least: a frozen dataclass of settings with two methods.

- `passes(model, rows, max_passes, generator)` yields the bound at the current parameters (`data_bound`), then improves
  the model in place, and so on. A generator function is enough. All randomness comes from `generator` or from torch's
  random state, which `fit` seeds.
- `stop(bounds, max_passes)` returns the reason to stop after these bounds, or None to go on.

What comes for free, from `fit`: a copy of the model that is initialized and may be changed, restarts and the best of
them, `Fit` with its history and gradient norm, the held-out bound and patience, a progress bar, row weights, labels,
tables that do not fit into memory, and checks that the bound is a number and that no component has collapsed. `compare`
and the plots take the result as they take that of `EM()`.

What is optional, each one short protocol below: `Steps` for checkpoints, `TakesBatches`, `HasOutcome`, `HasStatistics`.

Several processes may share the rows. A sum over rows must then go through `rows.reduced`, as `data_bound` and
`expectation` do; whatever is computed from such sums is the same on every process.

Example:
    EM with an M-step after every batch of rows, without the averaging of `OnlineEM`:

    >>> import torch
    >>> from dataclasses import dataclass
    >>> from lowerbound.inference import fit
    >>> from lowerbound.inference.engines.data_bound import data_bound
    >>> from lowerbound.models import GaussianMixture
    >>> @dataclass(frozen=True)
    ... class BatchEM:
    ...     batch_size: int
    ...
    ...     def passes(self, model, rows, max_passes, generator):
    ...         while True:
    ...             yield data_bound(model, rows)
    ...             for batch in rows.batches(self.batch_size, generator):
    ...                 model.maximize(model.expect(*batch.arguments))
    ...
    ...     def stop(self, bounds, max_passes):
    ...         return None  # run all passes
    >>> x = torch.cat([torch.linspace(-1, 1, 100), torch.linspace(7, 9, 100)]).unsqueeze(1)
    >>> fitted = fit(GaussianMixture(2, 1), x, BatchEM(50), max_passes=20)
    >>> sorted(round(mean) for mean in fitted.model.family.loc.flatten().tolist())
    [0, 8]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ...models import Rows, Statistics


@runtime_checkable
class Engine(Protocol):
    """An inference algorithm, with its settings as fields. `EM()`, `OnlineEM()`, `SVI()` and `NUTS()` are engines.

    The module `lowerbound.inference.engines.contract` says how to write one, with an example of ten lines.

    Example:
        >>> from lowerbound.inference import EM, Engine
        >>> isinstance(EM(), Engine)
        True
    """

    def passes(self, model: Any, rows: Rows, max_passes: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the bound at the current parameters, then improve the model in place, and so on.

        A generator is enough. For a checkpoint the iterator must be a `Steps`.

        Args:
            model: The model to improve, initialized; a copy that belongs to this run.
            rows: The table with its weights and labels.
            max_passes: How many bounds `fit` asks for at most.
            generator: The source of random numbers.

        Returns:
            An iterator over bounds, each a scalar tensor in nats per row.

        Raises:
            TypeError: The model lacks what this engine needs. The message says what, and which engine to take.
        """
        ...

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """Return the reason to stop, or None to go on.

        Args:
            bounds: One bound for each pass so far, in nats per row.
            max_passes: The number of passes after which `fit` stops in any case.

        Returns:
            A short phrase such as "converged: ..."; the fit then counts as converged.
        """
        ...


@runtime_checkable
class Steps(Protocol):
    """The passes of an engine as an iterator whose state can be stored between two of them, for checkpoints."""

    def __iter__(self) -> Iterator[Tensor]: ...

    def __next__(self) -> Tensor:
        """The first call returns the bound at the current parameters; later calls improve the model first."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Everything the next pass depends on, except the model's own state and torch's random state."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore that state, for a model whose own state is already restored."""
        ...


@runtime_checkable
class TakesBatches(Protocol):
    """An engine that reads the rows in batches."""

    @property
    def batch_size(self) -> int | None:
        """Rows in a batch; None for all of them."""
        ...


@runtime_checkable
class HasOutcome(Protocol):
    """Steps that end by themselves, and judge by other means than the bounds whether they converged."""

    @property
    def outcome(self) -> tuple[bool, str] | None:
        """Whether the run converged, and the reason in words; None before the end."""
        ...


@runtime_checkable
class HasStatistics(Protocol):
    """Steps that know the expected statistics of all rows, which saves `fit` an E-step at the end."""

    @property
    def statistics(self) -> Statistics | None:
        """The statistics at the current parameters; None if they are not known."""
        ...


def batch_size_of(engine: Any) -> int | None:
    """How many rows the engine reads at a time; None for all of them."""
    return engine.batch_size if isinstance(engine, TakesBatches) else None


def require_batch_size(engine: TakesBatches, rows: Rows) -> None:
    """Raise ValueError if the table is a DataLoader whose batches have another size than the engine's."""
    if rows.in_batches not in (None, engine.batch_size):
        raise ValueError(
            f"got a DataLoader with batches of {rows.in_batches} rows and batch_size={engine.batch_size}, expected "
            f"the same: pass {type(engine).__name__}(batch_size={rows.in_batches})"
        )


def require_shape(stored: Tensor, like: Tensor, name: str) -> None:
    """Raise ValueError if a tensor of a stored state has another shape than that of this run."""
    if stored.shape != like.shape:
        raise ValueError(f"its {name} has shape {tuple(stored.shape)}, expected {tuple(like.shape)}")
