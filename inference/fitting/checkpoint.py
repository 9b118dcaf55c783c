"""Checkpoints: a run of `fit` on disk after every pass, so that one that was killed goes on, to the same bits."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.duplicate_rows import comparable_values, row_hashes
from ...models import Collapse, Rows
from ...models.random_state import gpus
from ..engines.contract import Steps
from ..engines.data_bound import EVALUATION_ROWS
from ..engines.processes import from_first, gathered, rank
from .run import Found, Run
from .save_and_load import CHECKPOINT, describe, frozen, read, require_folder, write

SERIES = ("bounds", "times", "held_out")  # of a run, one number for each pass
LONGEST = 120  # letters of a model or engine in an error

Description = dict[str, list]  # for each name how an error shows it, and what is compared


def describe_run(model: Any, engine: Any, rows: Rows, validation: Rows | None, settings: dict[str, Any]) -> Description:
    """What makes a run this one and no other: settings, engine, model and rows, by name, as JSON."""
    own = describe(dataclasses.asdict(engine)) if dataclasses.is_dataclass(engine) else None  # type: ignore[call-overload]
    return {
        **{name: [str(value), describe(value)] for name, value in settings.items()},
        "engine": [_short(engine), [type(engine).__name__, own]],
        "model": [_short(model), [describe(model), type(model).__qualname__]],
        "start": [_digest(set_by_hand(model)), _digest(set_by_hand(model))],
        "frozen parameters": [", ".join(frozen(model)) or "none", frozen(model)],
        "modules": [_short(str(foreign(model))), foreign(model)],
        **{f"shape of {n}": [str(tuple(t.shape)), [*t.shape, str(t.dtype)]] for n, t in model.state_dict().items()},
        **_table(rows, ""),
        **({} if validation is None else _table(validation, " of the validation")),
    }


def _table(rows: Rows, of: str) -> Description:
    """Rows, columns and weight of a table, and a digest of its cells, if it holds still."""
    # the weight to as many digits as do not depend on the order in which a processor adds
    facts: dict[str, Any] = {"rows": len(rows), "columns": rows.features, "total weight": f"{rows.total_weight:.12g}"}
    if rows.is_fixed:  # a Dataset may draw other numbers at each reading
        hashed = rows.reduced(lambda: _hashed(rows), lambda a, b: (a + b) % 2**64)
        weights, labels = (_digest([] if part is None else [part]) for part in (rows.weights, rows.labels))
        facts["digest of the data"] = f"{hashed:016x}{weights}{labels}"
    return {name + of: [str(value), value] for name, value in facts.items()}


def _hashed(rows: Rows) -> int:
    """A sum over rows of what depends on their cells and place: the same however many processes read a part each."""
    chunks = (comparable_values(chunk.x, chunk.numbers) for chunk in rows.chunks(EVALUATION_ROWS))
    return sum(int(row_hashes(chunk).sum(dtype=np.uint64)) for chunk in chunks) % 2**64


def set_by_hand(model: Any) -> list[Tensor]:
    """The parameters that were set before the fit, which then starts from them. The random weights of a network are not
    among them: they would be others in another process."""
    parts = [part for part in model.modules() if hasattr(part, "names_set")] if hasattr(model, "modules") else []
    return [getattr(part, name).detach() for part in parts for name in sorted(part.names_set)]


def foreign(model: Any) -> list[str]:
    """Modules of the user's own, in the words of torch: they have no arguments to compare."""
    modules = model.children() if hasattr(model, "children") else []
    return [str(module) for module in modules if not hasattr(module, "arguments")]


def _digest(tensors: list[Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _short(value: Any) -> str:
    return textwrap.shorten(repr(value), LONGEST, placeholder=" ...")


class Checkpoint:
    """A file that holds what `fit` has found and the run under way. In a job the first process reads and writes it.

    Raises FileNotFoundError if its folder is missing, IsADirectoryError if it is a folder itself.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        from_first(self._require_place)
        self.run: Description = {}

    def read(self, run: Description) -> Saved | None:
        """What was saved of this run, None if nothing was. Raises ValueError for any other file."""
        self.run = json.loads(json.dumps(run))
        return from_first(self._read)

    def _require_place(self) -> None:
        require_folder(self.path)
        if self.path.is_dir():
            raise IsADirectoryError(f"checkpoint is {self.path}, a folder, expected the name of a file")

    def _read(self) -> Saved | None:
        if not self.path.exists():
            return None
        header, tensors = read(self.path, CHECKPOINT)
        try:
            self._require_same(header["run"])
            return Saved(header, tensors)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self.path} is damaged ({error!r}): choose another file for the checkpoint, or delete it"
            ) from error

    def write(
        self, found: Found, run: Run | None = None, steps: Any = None, generator: torch.Generator | None = None
    ) -> None:
        """Write all of it, whole or not at all. Raises OSError if it cannot be written."""
        tensors = {"ends": _series(found.ends)}
        header: dict[str, Any] = {
            "run": self.run,
            "restart": found.restart,
            "collapses": found.collapses,
            "collapse": _from_collapse(found.collapse),
            "seconds": found.seconds,
            "gradient_norm": found.gradient_norm,
        }
        for name, part in (("winner", found.winner), ("under_way", run)):
            if part is not None:
                header[name] = {"reason": part.reason, "flaw": _from_collapse(part.flaw), "best": part.best is not None}
                tensors |= {f"{name}.{series}": _series(getattr(part, series)) for series in SERIES}
                tensors |= _prefixed(f"{name}.model", part.model.state_dict())
                tensors |= _prefixed(f"{name}.best", part.best or {})
        if run is not None and generator is not None:
            tensors |= _prefixed("engine", steps.state_dict())
            for number, states in enumerate(gathered(lambda: _random_states(run.model, generator))):
                tensors |= _prefixed(_random(number), states)
        from_first(lambda: write(self.path, CHECKPOINT, tensors, header))

    def _require_same(self, saved: Description) -> None:
        for name in [*self.run, *(name for name in saved if name not in self.run)]:
            (theirs, was), (ours, now) = (run.get(name, ["none", None]) for run in (saved, self.run))
            if json.dumps(was, sort_keys=True) != json.dumps(now, sort_keys=True):
                of = f"{name} {theirs}, this run has {name} {ours}"
                if theirs == ours:
                    of = f"another {name} than that of this run, though both print as {ours}"
                raise ValueError(f"the checkpoint {self.path} is of {of}: choose another file, or delete it")


@dataclass(frozen=True)
class Saved:
    """The content of a checkpoint."""

    header: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def is_under_way(self) -> bool:
        """Whether a restart had begun and not ended."""
        return "under_way" in self.header

    def found(self, begin: Callable[[int], tuple[Any, torch.Generator]]) -> Found:
        """What the restarts before had found. begin: gives the model of a restart at its start."""
        header = self.header
        winner = None
        for restart in range(header["restart"]):
            try:
                # reads the rows as at first: of a table that draws them, `moments` keeps those
                model, _ = begin(restart)
            except Collapse:
                continue  # it ended where it began
            winner = self._run("winner", model) if "winner" in header else None
            break
        return Found(
            header["restart"],
            winner,
            self.tensors["ends"].tolist(),
            header["collapses"],
            _to_collapse(header["collapse"]),
            header["seconds"],
            header["gradient_norm"],
        )

    def run(self, model: Any) -> Run:
        """The run under way, its model in its state."""
        return self._run("under_way", model)

    def restore(self, steps: Steps, generator: torch.Generator) -> None:
        """Put back the state of the engine, and of the random numbers."""
        steps.load_state_dict(self._under("engine"))
        for name, state in self._under(_random(rank())).items():
            if name == "generator":
                generator.set_state(state)
            elif name == "torch":
                torch.set_rng_state(state)
            else:
                torch.cuda.set_rng_state(state, name)

    def _run(self, name: str, model: Any) -> Run:
        model.load_state_dict(self._under(f"{name}.model"))
        about = self.header[name]
        best = self._under(f"{name}.best")
        bounds, times, held_out = (self.tensors[f"{name}.{series}"].tolist() for series in SERIES)
        return Run(
            model,
            bounds,
            times,
            held_out,
            best=best if about["best"] else None,
            flaw=_to_collapse(about["flaw"]),
            reason=about["reason"],
        )

    def _under(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(f"{prefix}."): t for name, t in self.tensors.items() if name.startswith(f"{prefix}.")}


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
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


def _random(process: int) -> str:
    """Where the random states of a process are."""
    return f"random of process {process}" if process else "random"


def _from_collapse(collapse: Collapse | None) -> list | None:
    return None if collapse is None else [collapse.args[0], collapse.component, collapse.cure]


def _to_collapse(saved: list | None) -> Collapse | None:
    return None if saved is None else Collapse(*saved)
