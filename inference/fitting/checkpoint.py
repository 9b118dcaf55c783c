"""Checkpoints: a run of `fit` on disk after every pass. A killed run resumes from it and gives the same bits."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.write_files import require_writable, writable_place
from ..engines.collectives import broadcast_from_first, gather
from .checkpoint_identity import Description
from .checkpoint_state import SERIES, SavedRun, collapse_to_json, random_prefix, random_states
from .file_format import CHECKPOINT, UnreadableFile, damage, read, write
from .one_restart import RestartRun, RestartsSoFar

SECONDS_APART = 1.0  # a checkpoint is brought to the disk no more often


class Checkpoint:
    """A file that holds the restart under way and what the restarts before it found; in a job the first process writes.

    Raises OSError if the file could not be written: the folder is missing, or the path is a folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        broadcast_from_first(self._require_writable)
        self.run: Description = {}
        self._brought = -math.inf  # when it was last brought to the disk

    def read(self, run: Description) -> SavedRun | None:
        """The saved state of this run, or None if there is no file. Raises ValueError for the file of another run."""
        self.run = json.loads(json.dumps(run))
        return broadcast_from_first(self._read)

    def write(
        self,
        found: RestartsSoFar,
        run: RestartRun | None = None,
        steps: Any = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Write the whole state, completely or not at all. Raises OSError if it cannot be written.

        run, steps, generator: the restart under way, the steps of its engine and its random generator.
        """
        # the names "ends" and "flaw" belong to the file format
        tensors = {"ends": _series(found.final_bounds)}
        if found.small_ends:
            tensors["small_ends"] = _series(found.small_ends)
        header: dict[str, Any] = {
            "run": self.run,
            "restart": found.restart,
            "collapses": found.collapses,
            "collapse": collapse_to_json(found.collapse),
            "seconds": found.seconds,
            "gradient_norm": found.gradient_norm,
        }
        for name, part in (("winner", found.winner), ("under_way", run)):
            if part is not None:
                flaw = collapse_to_json(part.collapse_at_best)
                header[name] = {"reason": part.reason, "flaw": flaw, "best": part.best is not None}
                tensors |= {f"{name}.{series}": _series(vars(part)[series]) for series in SERIES}
                tensors |= _with_prefix(f"{name}.model", part.model.state_dict())
                tensors |= _with_prefix(f"{name}.best", part.best or {})
        if run is not None and generator is not None:
            tensors |= _with_prefix("engine", steps.state_dict())
            for number, states in enumerate(gather(lambda: random_states(run.model, generator))):
                tensors |= _with_prefix(random_prefix(number), states)
        # bringing a file to the disk takes longer than many a pass; without it, only a machine that stops can cut one
        # short, which the digest then tells
        durable = time.monotonic() - self._brought > SECONDS_APART
        broadcast_from_first(lambda: write(self.path, CHECKPOINT, tensors, header, durable))
        if durable:
            self._brought = time.monotonic()

    def _require_writable(self) -> None:
        """Raise an error now if the file could not be written later."""
        if self.path.is_dir():
            raise IsADirectoryError(f"checkpoint is {self.path}, a folder, expected the name of a file")
        require_writable(writable_place(self.path).parent, f"cannot write {self.path}")

    def _read(self) -> SavedRun | None:
        """`read` on the first process."""
        if not self.path.exists():
            return None
        header, tensors = read(self.path, CHECKPOINT)
        with damage(self.path, CHECKPOINT):
            self._require_same_run(header["run"])
            saved = SavedRun(header, tensors, self.path)
            saved.require_complete()
            return saved

    def _require_same_run(self, saved: Description) -> None:
        """Raise ValueError, naming the first difference, if the checkpoint belongs to another run."""
        for name in [*self.run, *(name for name in saved if name not in self.run)]:
            (theirs, was), (ours, now) = (run.get(name, ["none", None]) for run in (saved, self.run))
            if json.dumps(was, sort_keys=True) != json.dumps(now, sort_keys=True):
                of = f"{name} {theirs}, this run has {name} {ours}"
                if theirs == ours:
                    of = f"another {name} than that of this run, though both print as {ours}"
                raise UnreadableFile(f"the checkpoint {self.path} is of {of}: choose another file, or delete it")


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors by names with a prefix."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _series(values: list[float]) -> Tensor:
    """Numbers as a float64 tensor."""
    return torch.tensor(values, dtype=torch.float64)
