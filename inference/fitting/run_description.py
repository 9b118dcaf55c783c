"""What makes a run of fit this one and no other, for a checkpoint to compare."""

from __future__ import annotations

import dataclasses
import hashlib
import textwrap
from typing import Any

import numpy as np
from torch import Tensor

from ...data.duplicate_rows import cells, hashes
from ...models import Rows
from ..engines.data_bound import EVALUATION_ROWS
from .save_and_load import frozen
from .constructor_calls import describe

LONGEST = 120  # letters of a model or engine in an error


Description = dict[str, list]  # for each name how an error shows it, and what is compared


def describe_run(model: Any, engine: Any, rows: Rows, validation: Rows | None, settings: dict[str, Any]) -> Description:
    """What makes a run this one and no other: settings, engine, model and rows, by name, as JSON."""
    own = describe(dataclasses.asdict(engine)) if dataclasses.is_dataclass(engine) else None  # type: ignore[call-overload]
    return {
        **{name: [str(value), describe(value)] for name, value in settings.items()},
        "engine": [_short(engine), [type(engine).__name__, own]],
        "model": [_short(model), [describe(model), type(model).__qualname__]],
        "start": [_digest(parameters_set_by_user(model)), _digest(parameters_set_by_user(model))],
        "frozen parameters": [", ".join(frozen(model)) or "none", frozen(model)],
        "modules": [_short(str(user_modules(model))), user_modules(model)],
        **{f"shape of {n}": [str(tuple(t.shape)), [*t.shape, str(t.dtype)]] for n, t in model.state_dict().items()},
        **_table(rows, ""),
        **({} if validation is None else _table(validation, " of the validation")),
    }


def _table(rows: Rows, of: str) -> Description:
    """Rows, columns and weight of a table, and a digest of its cells, if it holds still."""
    # the weight to as many digits as do not depend on the order in which a processor adds
    facts: dict[str, Any] = {"rows": len(rows), "columns": rows.features, "total weight": f"{rows.total_weight:.12g}"}
    if rows.is_fixed:  # a Dataset may draw other numbers at each reading
        hashed = rows.reduced(lambda: _hash_rows(rows), lambda a, b: (a + b) % 2**64)
        weights, labels = (_digest([] if part is None else [part]) for part in (rows.weights, rows.labels))
        facts["digest of the data"] = f"{hashed:016x}{weights}{labels}"
    return {name + of: [str(value), value] for name, value in facts.items()}


def _hash_rows(rows: Rows) -> int:
    """A sum over rows of what depends on their cells and place: the same however many processes read a part each."""
    chunks = (cells(chunk.x, chunk.numbers) for chunk in rows.chunks(EVALUATION_ROWS))
    return sum(int(hashes(chunk).sum(dtype=np.uint64)) for chunk in chunks) % 2**64


def parameters_set_by_user(model: Any) -> list[Tensor]:
    """The parameters that were set before the fit, which then starts from them. The random weights of a network are not
    among them: they would be others in another process."""
    parts = [part for part in model.modules() if hasattr(part, "names_set")] if hasattr(model, "modules") else []
    return [getattr(part, name).detach() for part in parts for name in sorted(part.names_set)]


def user_modules(model: Any) -> list[str]:
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
