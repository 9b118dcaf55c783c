"""Fits on disk: one safetensors file with a JSON header and a format version, no pickle, the same bits back."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import torch
from pyro.infer import autoguide
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ... import models
from ...data.schema import Schema
from ..engines.em import EM
from ..engines.nuts import NUTS
from ..engines.online_em import OnlineEM
from ..engines.processes import is_first
from ..engines.svi import SVI
from .fit_result import Fit, Optimum

FORMAT = 1
KEY = "lowerbound"  # the metadata entry that holds the JSON
FIT, CHECKPOINT = "fit", "checkpoint"  # kinds of file
WRITERS = {FIT: "Fit.save", CHECKPOINT: "fit(..., checkpoint=path)"}
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


def write(path: Path, kind: str, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write a file of this kind to `path`, whole or not at all. Raises OSError if it cannot be written."""
    require_folder(path)
    # copies: safetensors refuses tensors that share memory, or lie in it in another order
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    header = {"format": FORMAT, "kind": kind, **header}
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(tensors, scratch, metadata={KEY: json.dumps(header)})
        os.chmod(scratch, 0o666 & ~_umask())
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def require_folder(path: Path) -> None:
    """Raise FileNotFoundError if there is no folder to write `path` to."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")


def read(path: Path, kind: str) -> tuple[Any, dict[str, Tensor]]:
    """The header and the tensors of a file of this kind. Raises ValueError if it is none, was cut short, or has a newer
    format."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[KEY])
            newer = header["format"] > FORMAT
            found = header.get("kind", FIT)  # which the first files do not say
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        name = {FIT: "a saved fit", CHECKPOINT: "a checkpoint"}[kind]
        raise ValueError(
            f"{path} is not {name}, or was cut short ({error}): expected a file written by {WRITERS[kind]}"
        ) from error
    if newer:
        raise ValueError(
            f"{path} has format {header['format']}, this version of lowerbound reads up to {FORMAT}: upgrade lowerbound"
        )
    if found != kind:
        raise ValueError(
            f"{path} is a checkpoint, not a saved fit: go on with its run by fit(..., checkpoint={str(path)!r})"
            if found == CHECKPOINT
            else f"{path} is a saved {found}, not a checkpoint: choose another file for the checkpoint"
        )
    return header, tensors


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
    model = _rebuild(header["model"]) if into is None else copy.deepcopy(into)
    saved, wanted = _classes(header["model"]), _classes(describe(model))
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


def describe(value: Any) -> Any:
    """Constructor calls as JSON: numbers and words as they are, tensors as lists, objects by class and arguments."""
    if hasattr(value, "arguments"):
        positional, named = value.arguments
        return {
            "class": type(value).__name__,
            "positional": [describe(v) for v in positional],
            "named": {name: describe(v) for name, v in named.items()},
        }
    if isinstance(value, models.NormalInverseWishart):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, "positional": [], "named": fields}
    if isinstance(value, models.PosteriorDraws):
        return {"class": "PosteriorDraws", "positional": [value.chains, value.draws], "named": {}}
    if isinstance(value, type) and getattr(autoguide, value.__name__, None) is value:
        return {"guide": value.__name__}
    if isinstance(value, type):
        kind = "distribution" if _is_known(value) else "class"
        return {kind: value.__name__, **({} if _is_known(value) else {"positional": [], "named": {}})}
    if isinstance(value, torch.distributions.Distribution):
        if not _is_known(type(value)):
            return {"class": type(value).__name__, "positional": [], "named": {}}  # rebuilt through `into`
        names = list(type(value).arg_constraints)  # type: ignore[reportGeneralTypeIssues]
        own = [name for name in names if name in vars(value)] or names  # of those that stand for each other, the given
        return {"distribution": type(value).__name__, "settings": {n: describe(getattr(value, n)) for n in own}}
    if isinstance(value, Tensor):
        return {"tensor": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, Mapping):
        return {"mapping": {name: describe(v) for name, v in value.items()}}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    name = type(value).__name__
    if name in models.__all__:  # a user's own that is called like one of ours
        name = f"{type(value).__module__}.{name}"
    return {"class": name, "positional": [], "named": {}}  # rebuilt through `into`


def _is_known(kind: type) -> bool:
    """Whether a distribution is one that can be made again from its parameters: those of torch and Pyro."""
    return getattr(dist, kind.__name__, None) in (kind, *kind.__subclasses__()) and kind.__name__ != "Independent"


def _classes(description: Any) -> str:
    """The classes in a description, outermost first: "Mixture of Gaussian"."""
    if isinstance(description, list):
        return " of ".join(filter(None, map(_classes, description)))
    if not isinstance(description, dict):
        return ""
    if "class" not in description:
        return str(description.get("distribution", description.get("guide", "")))
    inner = _classes([*description["positional"], *description["named"].values()])
    return f"{description['class']} of {inner}" if inner else description["class"]


def _rebuild(description: Any) -> Any:
    if isinstance(description, list):
        return [_rebuild(d) for d in description]
    if not isinstance(description, dict):
        return description
    if "mapping" in description:
        return {name: _rebuild(d) for name, d in description["mapping"].items()}
    if "guide" in description:
        return getattr(autoguide, description["guide"])
    if "tensor" in description:
        return torch.tensor(description["tensor"], dtype=getattr(torch, description["dtype"]))
    if "distribution" in description:
        kind = getattr(dist, description["distribution"])
        settings = description.get("settings")
        return kind if settings is None else kind(**{name: _rebuild(d) for name, d in settings.items()})
    made = getattr(models, description["class"], None) if description["class"] in models.__all__ else None
    if made is None:
        raise ValueError(
            f"the fit is of a {description['class']}, which lowerbound does not have: load(path, into=model) with a "
            "model of that kind"
        )
    return made(*map(_rebuild, description["positional"]), **{n: _rebuild(d) for n, d in description["named"].items()})


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
