"""What identifies a run of `fit`: a checkpoint stores it, and a run that differs in any of it raises an error."""

from __future__ import annotations

import dataclasses
import hashlib
import textwrap
from typing import Any

import numpy as np
from torch import Tensor

from ...data.duplicate_rows import comparable_values, row_hashes
from ...models import Rows
from ...models.abilities import is_module
from ...models.module import Recorded
from ..engines.data_bound import EVALUATION_ROWS
from .describe_calls import RemembersArguments, describe, frozen_parameters

LONGEST = 120  # characters of a model or engine in an error

Description = dict[str, list]  # by name: the words for an error, and the value to compare


def describe_run(model: Any, engine: Any, rows: Rows, validation: Rows | None, settings: dict[str, Any]) -> Description:
    """The settings, engine, model and rows of a run, by name, as JSON."""
    own = describe(dataclasses.asdict(engine)) if dataclasses.is_dataclass(engine) else None  # type: ignore[call-overload]
    return {
        **{name: [str(value), describe(value)] for name, value in settings.items()},
        "engine": [_short(engine), [type(engine).__name__, own]],
        "model": [_short(model), [describe(model), type(model).__qualname__]],
        "start": [_digest(parameters_set_by_user(model)), _digest(parameters_set_by_user(model))],
        "frozen parameters": [", ".join(frozen_parameters(model)) or "none", frozen_parameters(model)],
        "modules": [_short(str(user_modules(model))), user_modules(model)],
        **{f"shape of {n}": [str(tuple(t.shape)), [*t.shape, str(t.dtype)]] for n, t in model.state_dict().items()},
        **_table(rows, ""),
        **({} if validation is None else _table(validation, " of the validation")),
    }


def _table(rows: Rows, of: str) -> Description:
    """Rows, columns and total weight of a table, and a digest of its cells if every reading gives the same."""
    # 12 digits of the weight, which do not depend on the order of addition
    facts: dict[str, Any] = {"rows": len(rows), "columns": rows.features, "total weight": f"{rows.total_weight:.12g}"}
    if rows.is_fixed:  # a Dataset may draw new numbers at each reading
        hashed = rows.reduced(lambda: _hash_rows(rows), lambda a, b: (a + b) % 2**64)
        weights, labels = (_digest([] if part is None else [part]) for part in (rows.weights, rows.labels))
        facts["digest of the data"] = f"{hashed:016x}{weights}{labels}"
    return {name + of: [str(value), value] for name, value in facts.items()}


def _hash_rows(rows: Rows) -> int:
    """The sum of one hash for each row and its number: the same however many processes share the rows."""
    chunks = (comparable_values(chunk.x, chunk.numbers) for chunk in rows.chunks(EVALUATION_ROWS))
    return sum(int(row_hashes(chunk).sum(dtype=np.uint64)) for chunk in chunks) % 2**64


def parameters_set_by_user(model: Any) -> list[Tensor]:
    """The parameters that were set before the fit, which then starts from them.

    The random weights of a network are not among them: another process may draw other ones.
    """
    parts = [part for part in model.modules() if isinstance(part, Recorded)] if is_module(model) else []
    return [part.value(name).detach() for part in parts for name in sorted(part.names_set)]


def user_modules(model: Any) -> list[str]:
    """The user's own modules inside a model as torch prints them, since they do not remember their arguments."""
    modules = model.children() if is_module(model) else []
    return [str(module) for module in modules if not isinstance(module, RemembersArguments)]


def _digest(tensors: list[Tensor]) -> str:
    """A short hash of the bits of some tensors."""
    digest = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _short(value: Any) -> str:
    """An object in words, cut to fit into an error."""
    return textwrap.shorten(repr(value), LONGEST, placeholder=" ...")
