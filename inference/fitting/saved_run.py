"""x"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...models import Collapse
from ..engines.contract import Steps
from ..engines.processes import rank
from .restart_run import RestartsSoFar, RestartRun

SERIES = ("bounds", "times", "held_out")  # of a run, one number for each pass


@dataclass(frozen=True)
class SavedRun:
    """The content of a checkpoint."""

    header: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def is_under_way(self) -> bool:
        """Whether a restart had begun and not ended."""
        return "under_way" in self.header

    def found(self, begin: Callable[[int], tuple[Any, torch.Generator]]) -> RestartsSoFar:
        """What the restarts before had found. begin: gives the model of a restart at its start."""
        header = self.header
        winner = None
        for restart in range(header["restart"]):
            try:
                # reads the rows as at first: of a table that draws them, `moments` keeps those
                model, _ = begin(restart)
            except Collapse:
                continue  # it ended where it began
            winner = self._restored_run("winner", model) if "winner" in header else None
            break
        return RestartsSoFar(
            header["restart"],
            winner,
            self.tensors["ends"].tolist(),
            header["collapses"],
            _collapse_from_json(header["collapse"]),
            header["seconds"],
            header["gradient_norm"],
        )

    def run(self, model: Any) -> RestartRun:
        """The run under way, its model in its state."""
        return self._restored_run("under_way", model)

    def restore(self, steps: Steps, generator: torch.Generator) -> None:
        """Put back the state of the engine, and of the random numbers."""
        steps.load_state_dict(self._tensors_of("engine"))
        for name, state in self._tensors_of(random_prefix(rank())).items():
            if name == "generator":
                generator.set_state(state)
            elif name == "torch":
                torch.set_rng_state(state)
            else:
                torch.cuda.set_rng_state(state, name)

    def _restored_run(self, name: str, model: Any) -> RestartRun:
        model.load_state_dict(self._tensors_of(f"{name}.model"))
        about = self.header[name]
        best = self._tensors_of(f"{name}.best")
        bounds, times, held_out = (self.tensors[f"{name}.{series}"].tolist() for series in SERIES)
        return RestartRun(
            model,
            bounds,
            times,
            held_out,
            best=best if about["best"] else None,
            collapse_at_best=_collapse_from_json(about["flaw"]),
            reason=about["reason"],
        )

    def _tensors_of(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(f"{prefix}."): t for name, t in self.tensors.items() if name.startswith(f"{prefix}.")}


def random_prefix(process: int) -> str:
    """Where the random states of a process are."""
    return f"random of process {process}" if process else "random"


def _collapse_from_json(saved: list | None) -> Collapse | None:
    return None if saved is None else Collapse(*saved)
