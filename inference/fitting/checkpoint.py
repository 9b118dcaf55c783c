"""Checkpoints: a run of `fit` on disk after every pass, so that one that was killed goes on, to the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...models import Collapse
from ...models.random_state import gpus
from ..engines.collectives import broadcast_from_first, gather
from .file_format import CHECKPOINT, read, require_folder, write
from .restart_run import RestartsSoFar, RestartRun
from .run_description import Description
from .saved_run import SERIES, SavedRun, random_prefix


class Checkpoint:
    """A file that holds what `fit` has found and the run under way. In a job the first process reads and writes it.

    Raises FileNotFoundError if its folder is missing, IsADirectoryError if it is a folder itself.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        broadcast_from_first(self._require_place)
        self.run: Description = {}

    def read(self, run: Description) -> SavedRun | None:
        """What was saved of this run, None if nothing was. Raises ValueError for any other file."""
        self.run = json.loads(json.dumps(run))
        return broadcast_from_first(self._read)

    def _require_place(self) -> None:
        require_folder(self.path)
        if self.path.is_dir():
            raise IsADirectoryError(f"checkpoint is {self.path}, a folder, expected the name of a file")

    def _read(self) -> SavedRun | None:
        if not self.path.exists():
            return None
        header, tensors = read(self.path, CHECKPOINT)
        try:
            self._require_same(header["run"])
            return SavedRun(header, tensors)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self.path} is damaged ({error!r}): choose another file for the checkpoint, or delete it"
            ) from error

    def write(
        self, found: RestartsSoFar, run: RestartRun | None = None, steps: Any = None, generator: torch.Generator | None = None
    ) -> None:
        """Write all of it, whole or not at all. Raises OSError if it cannot be written."""
        tensors = {"ends": _series(found.final_bounds)}
        header: dict[str, Any] = {
            "run": self.run,
            "restart": found.restart,
            "collapses": found.collapses,
            "collapse": _collapse_to_json(found.collapse),
            "seconds": found.seconds,
            "gradient_norm": found.gradient_norm,
        }
        for name, part in (("winner", found.winner), ("under_way", run)):
            if part is not None:
                header[name] = {"reason": part.reason, "flaw": _collapse_to_json(part.collapse_at_best), "best": part.best is not None}
                tensors |= {f"{name}.{series}": _series(getattr(part, series)) for series in SERIES}
                tensors |= _with_prefix(f"{name}.model", part.model.state_dict())
                tensors |= _with_prefix(f"{name}.best", part.best or {})
        if run is not None and generator is not None:
            tensors |= _with_prefix("engine", steps.state_dict())
            for number, states in enumerate(gather(lambda: _random_states(run.model, generator))):
                tensors |= _with_prefix(random_prefix(number), states)
        broadcast_from_first(lambda: write(self.path, CHECKPOINT, tensors, header))

    def _require_same(self, saved: Description) -> None:
        for name in [*self.run, *(name for name in saved if name not in self.run)]:
            (theirs, was), (ours, now) = (run.get(name, ["none", None]) for run in (saved, self.run))
            if json.dumps(was, sort_keys=True) != json.dumps(now, sort_keys=True):
                of = f"{name} {theirs}, this run has {name} {ours}"
                if theirs == ours:
                    of = f"another {name} than that of this run, though both print as {ours}"
                raise ValueError(f"the checkpoint {self.path} is of {of}: choose another file, or delete it")


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _series(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _random_states(model: Any, generator: torch.Generator) -> dict[str, Tensor]:
    """Those that a pass may draw from: torch's own, the generator's, and those of the model's GPUs."""
    return {
        "torch": torch.get_rng_state(),
        "generator": generator.get_state(),
        **{f"cuda:{gpu}": torch.cuda.get_rng_state(gpu) for gpu in gpus(model)},
    }


def _collapse_to_json(collapse: Collapse | None) -> list | None:
    return None if collapse is None else [collapse.args[0], collapse.component, collapse.cure]
