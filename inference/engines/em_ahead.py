"""Passes of EM that a model makes ahead, several in one compiled call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...models import Rows
from ...models.abilities import PassesAhead
from .data_bound import expectation
from .em_steps import EMSteps


class AheadSteps(EMSteps):
    """As `EMSteps`, with the passes of `ahead` where it makes them.

    Once its state is asked for, for a checkpoint, it makes plain passes: a resumed run then gives the same bits.
    """

    def __init__(self, model: Any, rows: Rows, ahead: PassesAhead):
        super().__init__(model, rows)
        self.ahead: PassesAhead | None = ahead
        self.has_begun = False

    @property
    def statistics(self) -> None:
        """None: compiled passes keep no statistics of all rows."""
        return None

    def __next__(self) -> Tensor:
        if self.ahead is not None:
            if self.last is not None:  # from a plain pass, whose bound is known
                self.ahead.begin()
                self.last = self.last if self.ahead.advance() is None else None
            bound = self.ahead.advance() if self.last is None else None
            if bound is not None:
                self.has_begun = True
                return bound
            if self.has_begun and self.last is None:
                self.last = expectation(self.model, self.rows)
        return super().__next__()

    def restart(self, rows: Rows, generator: torch.Generator) -> None:
        """Begin another run of the same model, from a start drawn from these rows. Its state must not be asked for."""
        assert self.ahead is not None
        self.ahead.restart(rows, generator)
        self.last, self.has_begun = None, False

    def state_dict(self) -> dict[str, Tensor]:
        """As that of `EMSteps`."""
        if self.has_begun and self.last is None:
            self.last = expectation(self.model, self.rows)
        self.ahead = None
        return super().state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """As that of `EMSteps`."""
        self.ahead = None
        super().load_state_dict(state)
