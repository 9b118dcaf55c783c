"""`Fit.save` and `load`: a fit in one file, read back to the same bits."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.schema import Schema
from ...models.abilities import RemembersTable
from ..engines.em import EM
from ..engines.nuts import NUTS
from ..engines.online_em import OnlineEM
from ..engines.processes import is_first
from ..engines.svi import SVI
from .describe_calls import UnknownClass, class_names, describe, frozen_parameters
from .file_format import FIT, UnreadableFile, damage, load_parameters, read, write
from .fit_arguments import require_state
from .fit_result import Fit, Optimum
from .rebuild import rebuild

ENGINES = {engine.__name__: engine for engine in (EM, NUTS, OnlineEM, SVI)}
HISTORY = {  # fields of `Fit` in the header, with their types in JSON
    "converged": bool,
    "reason": str,
    "seconds": int | float,
    "seed": int,
    "gradient_norm": int | float | None,
}


def save(fit: Fit, path: str | Path) -> None:
    """Write `fit` to `path`, completely or not at all; in a job the first process writes it.

    Raises OSError if it cannot be written, and TypeError for a model without a state.
    """
    if not is_first():
        return
    require_state(fit.model, "Fit.save")
    tensors = {f"model.{name}": value for name, value in fit.model.state_dict().items()}
    tensors |= {"bounds": fit.bounds, "times": fit.times}
    if fit.held_out is not None:
        tensors["held_out"] = fit.held_out
    schema = fit.model.schema if isinstance(fit.model, RemembersTable) else None
    header = {
        "model": describe(fit.model),
        "frozen": frozen_parameters(fit.model),
        "schema": dataclasses.asdict(schema) if schema else None,
        "engine": {"class": type(fit.engine).__name__, "settings": engine_settings(fit.engine)},
        "doubts": list(fit.doubts),
        "optima": [dataclasses.asdict(optimum) for optimum in fit.optima],
        **{name: vars(fit)[name] for name in HISTORY},
    }
    write(Path(path), FIT, tensors, header)


def engine_settings(engine: Any) -> dict[str, Any]:
    """The settings of an engine as JSON; none of one that is no dataclass."""
    own = dataclasses.asdict(engine) if dataclasses.is_dataclass(engine) else {}  # type: ignore[call-overload]
    return {name: describe(value) for name, value in own.items()}


def load(path: str | Path, into: Any = None) -> Fit:
    """Read a fit that `Fit.save` wrote. Parameters and bounds have the same bits as before.

    A file that was damaged is refused: it holds a digest of its content. Files of the first format have none; to
    protect such a fit, load and save it again.

    Args:
        path: The file.
        into: A model of the same kind and size, of which a copy takes the saved parameters. Needed only if the model,
            or a part of it, is of a class that lowerbound does not have.

    Returns:
        The fit. Its engine is an `EM`, `OnlineEM`, `SVI` or `NUTS`; for another engine, a dict of its class and
        settings.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a saved fit (a checkpoint, say), was cut short or changed, has a newer format, does
            not match `into`, or needs `into`.

    Example:
        >>> import tempfile, torch
        >>> from lowerbound.inference import EM, fit, load
        >>> from lowerbound.models import GaussianMixture
        >>> fitted = fit(GaussianMixture(1, 1), torch.tensor([[0.0], [1.0], [2.0], [3.0]]), EM())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fitted.save(f"{folder}/model.safetensors")
        ...     again = load(f"{folder}/model.safetensors")
        >>> torch.equal(again.model.family.loc, fitted.model.family.loc), again.engine
        (True, EM(tol=1e-09, accelerate='auto', dtype='float64'))
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} (data sets are read by lowerbound.datasets.load)")
    header, tensors = read(path, FIT)
    with damage(path, FIT):
        return _assemble(header, tensors, into, path)


def _assemble(header: Any, tensors: dict[str, Tensor], into: Any, path: Path) -> Fit:
    """The fit that a file holds."""
    _require_history(header, tensors)
    state = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    if into is None:
        try:
            model = rebuild(header["model"], sum(tensor.numel() for tensor in state.values()))
        except UnknownClass as error:
            raise UnreadableFile(f"{path} cannot be read: {error}") from error
    else:
        model = copy.deepcopy(into)
        saved, wanted = class_names(header["model"]), class_names(describe(model))
        if saved != wanted:
            raise UnreadableFile(f"{path} is a fit of {saved}, expected one of {wanted}, the model it is read into")
    load_parameters(model, state, path, FIT, assign=True)  # in the precision that was saved
    if "frozen" in header:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in header["frozen"])
    if header.get("schema"):
        model.schema = _schema(**header["schema"])
    engine = header["engine"]
    return Fit(
        model=model,
        engine=ENGINES[engine["class"]](**engine["settings"]) if engine["class"] in ENGINES else engine,
        bounds=tensors["bounds"],
        times=tensors["times"],
        held_out=tensors.get("held_out"),
        doubts=tuple(map(str, header.get("doubts", ()))),
        optima=tuple(Optimum(**optimum) for optimum in header["optima"]),
        **{name: header[name] for name in HISTORY},
    )


def _schema(columns: list, levels: list) -> Schema:
    """The schema of these lists. Raises ValueError unless they hold names."""
    schema = Schema(tuple(columns), tuple(words if words is None else tuple(words) for words in levels))
    names = [*schema.columns, *(word for words in schema.levels if words is not None for word in words)]
    if len(schema.columns) != len(schema.levels) or not all(isinstance(name, str) for name in names):
        raise ValueError("its columns have no names")
    return schema


def _require_history(header: Any, tensors: dict[str, Tensor]) -> None:
    """Raise ValueError unless what is told about the fit beside the model is of the kind that `save` writes."""
    for name, kinds in HISTORY.items():
        if not isinstance(header[name], kinds):
            raise ValueError(f"its {name} is {header[name]!r}")
    for name in ("bounds", "times", "held_out"):
        if name in tensors and not (tensors[name].ndim == 1 and tensors[name].dtype == torch.float64):
            raise ValueError(f"its {name} are {tensors[name].dtype} of shape {tuple(tensors[name].shape)}")
    if len(tensors["bounds"]) == 0 or not bool(torch.isfinite(tensors["bounds"]).all()):
        raise ValueError("its bounds are not finite numbers")
