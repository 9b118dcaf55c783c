"""The contract of an engine: what fit() asks of an inference algorithm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ...models import Rows


@runtime_checkable
class Engine(Protocol):
    """An inference algorithm: a frozen dataclass of its settings."""

    def passes(self, model: Any, rows: Rows, max_passes: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the bound of the model as it stands, in nats per row, then improve it in place; and so on.

        A generator will do. A run with a checkpoint needs `Steps`.
        """
        ...

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """The reason to stop after these bounds, one per pass, or None if there is more to gain."""
        ...


@runtime_checkable
class Steps(Protocol):
    """The passes of an engine as an iterator that can be stored between two of them."""

    def __iter__(self) -> Iterator[Tensor]: ...

    def __next__(self) -> Tensor:
        """The first time the bound of the model as it stands; then improve the model in place: its new bound."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """All that the next pass depends on, but for the model's own state and torch's random state."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put it back, for a model that has its state again: the next `next` improves it and gives its new bound."""
        ...
