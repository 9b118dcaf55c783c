"""Fits on disk: one safetensors file with a JSON header and a format version, no pickle, the same bits back."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor

from ...data.schema import Schema
from ..engines.em import EM
from ..engines.nuts import NUTS
from ..engines.online_em import OnlineEM
from ..engines.processes import is_first
from ..engines.svi import SVI
from .constructor_calls import class_names, rebuild, describe
from .file_format import FIT, read, write
from .fit_result import Fit, Optimum

ENGINES = {engine.__name__: engine for engine in (EM, NUTS, OnlineEM, SVI)}


def save(fit: Fit, path: str | Path) -> None:
    """Write `fit` to `path`, whole or not at all, in a job by its first process. Raises OSError if it cannot be
    written."""
    if not is_first():
        return
    tensors = {f"model.{name}": value for name, value in fit.model.state_dict().items()}
    tensors |= {"bounds": fit.bounds, "times": fit.times}
    if fit.held_out is not None:
        tensors["held_out"] = fit.held_out
    header = {
        "model": describe(fit.model),
        "frozen": frozen(fit.model),
        "schema": dataclasses.asdict(fit.model.schema) if getattr(fit.model, "schema", None) else None,
        "engine": {"class": type(fit.engine).__name__, "settings": dataclasses.asdict(fit.engine)},  # type: ignore[call-overload]
        "optima": [dataclasses.asdict(optimum) for optimum in fit.optima],
        **{name: getattr(fit, name) for name in ("converged", "reason", "seconds", "seed", "gradient_norm")},
    }
    write(Path(path), FIT, tensors, header)


def load(path: str | Path, into: Any = None) -> Fit:
    """Read a fit that `Fit.save` wrote.

    into: a model of the same kind and size to read a copy of, needed where the model is not one of lowerbound's own.
    Raises FileNotFoundError, and ValueError for a file that is not a fit (such as a checkpoint), was cut short, has a
    newer format, or does not match `into`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} (data sets are read by lowerbound.datasets.load)")
    header, tensors = read(path, FIT)
    try:
        return _assemble(header, tensors, into, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): expected a file written by Fit.save") from error


def _assemble(header: Any, tensors: dict[str, Tensor], into: Any, path: Path) -> Fit:
    model = rebuild(header["model"]) if into is None else copy.deepcopy(into)
    saved, wanted = class_names(header["model"]), class_names(describe(model))
    if saved != wanted:
        raise ValueError(f"{path} is a fit of {saved}, expected one of {wanted}, the model it is to be read into")
    _restore(model, {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}, path)
    if "frozen" in header:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in header["frozen"])
    if header.get("schema"):
        levels = (words if words is None else tuple(words) for words in header["schema"]["levels"])
        model.schema = Schema(tuple(header["schema"]["columns"]), tuple(levels))
    engine = header["engine"]
    return Fit(
        model=model,
        engine=ENGINES[engine["class"]](**engine["settings"]) if engine["class"] in ENGINES else engine,
        bounds=tensors["bounds"],
        times=tensors["times"],
        held_out=tensors.get("held_out"),
        optima=tuple(Optimum(**optimum) for optimum in header["optima"]),
        **{name: header[name] for name in ("converged", "reason", "seconds", "seed", "gradient_norm")},
    )


def frozen(model: Any) -> list[str]:
    """The unconstrained tensors that are held fixed, by name."""
    named = model.named_parameters() if hasattr(model, "named_parameters") else ()
    return [name for name, parameter in named if not parameter.requires_grad]


def _restore(model: Any, state: dict[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    for name in sorted(own.keys() | state.keys()):
        saved, wanted = (tuple(s[name].shape) if name in s else None for s in (state, own))
        if saved != wanted:
            raise ValueError(f"{path} holds {name} of shape {saved}, expected {wanted}: it is a fit of another model")
    model.load_state_dict(state, assign=True)  # in the precision that was saved
