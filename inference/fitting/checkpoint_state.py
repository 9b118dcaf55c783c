"""The content of a checkpoint: the restarts so far, the one under way, and the states of engine and random numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...models import Collapse
from ...models.random_state import gpus, set_random_states
from ...models.random_state import random_states as states_of_torch
from ..engines.contract import Steps
from ..engines.processes import rank
from .file_format import CHECKPOINT, damage, load_parameters
from .one_restart import RestartRun, RestartsSoFar

SERIES = ("bounds", "times", "held_out")  # what a run holds one number of for each pass


@dataclass(frozen=True)
class SavedRun:
    """The header and tensors of the checkpoint `path`. What cannot be used is said to be damaged, in one sentence."""

    header: dict[str, Any]
    tensors: dict[str, Tensor]
    path: Path

    def require_complete(self) -> None:
        """Raise an error, of any kind, if something is missing or of another kind than `Checkpoint.write` writes."""
        header = self.header
        runs = [name for name in ("winner", "under_way") if name in header]
        small = ["small_ends"] if "small_ends" in self.tensors else []
        for name in ("ends", *small, *(f"{run}.{series}" for run in runs for series in SERIES)):
            if self.tensors[name].ndim != 1:
                raise ValueError(f"its {name} have shape {tuple(self.tensors[name].shape)}")
        for name, kinds in (("restart", int), ("collapses", int), ("seconds", int | float)):
            if not isinstance(header[name], kinds) or header[name] < 0:
                raise ValueError(f"its {name} is {header[name]!r}")
        if not isinstance(header["gradient_norm"], int | float | None):
            raise ValueError(f"its gradient_norm is {header['gradient_norm']!r}")
        held = sum(len(self.tensors[name]) for name in ("ends", *small))
        if held + header["collapses"] != header["restart"]:
            raise ValueError(f"it holds {held} results of {header['restart']} restarts")
        for collapse in (header["collapse"], *(header[run]["flaw"] for run in runs)):
            _collapse_from_json(collapse)
        for run in runs:
            if not isinstance(header[run]["best"], bool) or not isinstance(header[run]["reason"], str | None):
                raise ValueError(f"its {run} is {header[run]!r}")
        for name in self._tensors_of(random_prefix(0)):
            if not (name in ("generator", "torch") or re.fullmatch(r"cuda:\d+", name)):
                raise ValueError(f"it holds random numbers of {name!r}")

    @property
    def is_under_way(self) -> bool:
        """Whether a restart had begun and not ended."""
        return "under_way" in self.header

    def restarts_so_far(self, begin: Callable[[int], tuple[Any, torch.Generator]]) -> RestartsSoFar:
        """What the completed restarts had found. begin: `RestartRunner.begin`, which gives a model to load."""
        header = self.header
        winner = None
        for restart in range(header["restart"]):
            try:
                # this reads the rows as the first run did: `moments` keeps those of a table that draws its rows
                model, _ = begin(restart)
            except Collapse:
                continue  # this restart collapsed at its start
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
            self.tensors["small_ends"].tolist() if "small_ends" in self.tensors else [],
        )

    def run(self, model: Any) -> RestartRun:
        """The restart under way; its state is loaded into `model`."""
        return self._restored_run("under_way", model)

    def restore(self, steps: Steps, generator: torch.Generator) -> None:
        """Restore the states of the engine's steps and of the random numbers of this process."""
        with damage(self.path, CHECKPOINT):
            steps.load_state_dict(self._tensors_of("engine"))
            states = self._tensors_of(random_prefix(rank()))
            generator.set_state(states.pop("generator"))
            set_random_states(states)

    def _restored_run(self, name: str, model: Any) -> RestartRun:
        """The run saved under this name; its state is loaded into `model`."""
        load_parameters(model, self._tensors_of(f"{name}.model"), self.path, CHECKPOINT)
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
        """The tensors whose names begin with this prefix, by the rest of their names."""
        return {name.removeprefix(f"{prefix}."): t for name, t in self.tensors.items() if name.startswith(f"{prefix}.")}


def random_states(model: Any, generator: torch.Generator) -> dict[str, Tensor]:
    """The states of all random numbers a pass may draw: torch's, the generator's, and those of the model's GPUs."""
    return {"generator": generator.get_state(), **states_of_torch(gpus(model))}


def random_prefix(process: int) -> str:
    """The prefix under which a checkpoint holds the random states of a process."""
    return f"random of process {process}" if process else "random"


def collapse_to_json(collapse: Collapse | None) -> list | None:
    """A collapse as its arguments."""
    return None if collapse is None else [collapse.args[0], collapse.component, collapse.cure]


def _collapse_from_json(saved: list | None) -> Collapse | None:
    return None if saved is None else Collapse(*saved)
