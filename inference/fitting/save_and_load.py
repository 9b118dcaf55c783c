"""`Fit.save` and `load`: a fit in one file, read back to the same bits."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor

from ...data.schema import Schema
from ...models.abilities import RemembersTable
from ..engines.em import EM
from ..engines.nuts import NUTS
from ..engines.online_em import OnlineEM
from ..engines.processes import is_first
from ..engines.svi import SVI
from .file_format import FIT, read, write
from .fit_result import Fit, Optimum
from .rebuild_from_calls import class_names, describe, frozen_parameters, rebuild

ENGINES = {engine.__name__: engine for engine in (EM, NUTS, OnlineEM, SVI)}


def save(fit: Fit, path: str | Path) -> None:
    """Write `fit` to `path`, completely or not at all; in a job the first process writes it.

    Raises OSError if it cannot be written.
    """
    if not is_first():
        return
    tensors = {f"model.{name}": value for name, value in fit.model.state_dict().items()}
    tensors |= {"bounds": fit.bounds, "times": fit.times}
    if fit.held_out is not None:
        tensors["held_out"] = fit.held_out
    schema = fit.model.schema if isinstance(fit.model, RemembersTable) else None
    header = {
        "model": describe(fit.model),
        "frozen": frozen_parameters(fit.model),
        "schema": dataclasses.asdict(schema) if schema else None,
        "engine": {"class": type(fit.engine).__name__, "settings": dataclasses.asdict(fit.engine)},  # type: ignore[call-overload]
        "optima": [dataclasses.asdict(optimum) for optimum in fit.optima],
        **{name: vars(fit)[name] for name in ("converged", "reason", "seconds", "seed", "gradient_norm")},
    }
    write(Path(path), FIT, tensors, header)


def load(path: str | Path, into: Any = None) -> Fit:
    """Read a fit that `Fit.save` wrote. Parameters and bounds have the same bits as before.

    Args:
        path: The file.
        into: A model of the same kind and size, of which a copy takes the saved parameters. Needed only if the model,
            or a part of it, is of a class that lowerbound does not have.

    Returns:
        The fit. Its engine is an `EM`, `OnlineEM`, `SVI` or `NUTS`; for another engine, a dict of its class and
        settings.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a saved fit (a checkpoint, say), was cut short, has a newer format, does not match
            `into`, or needs `into`.

    Example:
        >>> import tempfile, torch
        >>> from lowerbound.inference import EM, fit, load
        >>> from lowerbound.models import GaussianMixture
        >>> fitted = fit(GaussianMixture(1, 1), torch.tensor([[0.0], [1.0], [2.0], [3.0]]), EM())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fitted.save(f"{folder}/model.safetensors")
        ...     again = load(f"{folder}/model.safetensors")
        >>> torch.equal(again.model.family.loc, fitted.model.family.loc), again.engine
        (True, EM(tol=1e-09, accelerate=None, dtype='float64'))
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
    """The fit that a file holds."""
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


def _restore(model: Any, state: dict[str, Tensor], path: Path) -> None:
    """Load the saved parameters. Raises ValueError for other names or shapes than the model has."""
    own = model.state_dict()
    for name in sorted(own.keys() | state.keys()):
        saved, wanted = (tuple(s[name].shape) if name in s else None for s in (state, own))
        if saved != wanted:
            raise ValueError(f"{path} holds {name} of shape {saved}, expected {wanted}: it is a fit of another model")
    model.load_state_dict(state, assign=True)  # in the precision that was saved
