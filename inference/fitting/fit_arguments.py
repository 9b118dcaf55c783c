"""The checks of the arguments of `fit`, before any row is read: each error says what to pass instead."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from ...models import LatentModel, Rows
from ...models.abilities import HasState
from ...models.contract import lacking
from ..engines.contract import Engine
from .distributed_rows import rows_for_fit
from .fit_result import Fit


def require_model(model: Any) -> None:
    """Raise TypeError, naming what is missing, if this is not a model."""
    if isinstance(model, (type, Fit)):
        what = f"the class {model.__name__}" if isinstance(model, type) else "a fit"
        cure = f"{model.__name__}(...)" if isinstance(model, type) else "its .model"
        raise TypeError(f"got {what} as the model, expected a model: pass {cure}")
    if not isinstance(model, LatentModel):
        raise TypeError(
            f"got {type(model).__name__} as the model, expected one such as GaussianMixture(2, 2): it lacks "
            + ", ".join(lacking(model, LatentModel))
        )


def require_state(model: Any, purpose: str) -> None:
    """Raise TypeError unless the state of a model can be stored and put back."""
    if not isinstance(model, HasState):
        raise TypeError(
            f"{type(model).__name__} has no state_dict() and load_state_dict(), expected them for {purpose}: derive it "
            f"from torch.nn.Module, or leave {purpose} out"
        )


def require_engine(engine: Any) -> None:
    """Raise TypeError if this is not an engine but, say, the class of one."""
    if isinstance(engine, type) or not isinstance(engine, Engine):
        raise TypeError(f"got {engine!r} as the engine, expected one such as EM() or SVI()")


def require_counts(**counts: Any) -> None:
    """Raise ValueError, naming the first that is not, unless all are whole numbers of at least 1.

    patience and short_passes may be None.
    """
    for name, value in counts.items():
        missing = value is None and name in ("patience", "short_passes")
        if not missing and not (isinstance(value, Integral) and int(value) >= 1):
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")


def require_consistent(
    seed: Any, patience: int | None, validation: Any, short_passes: int | None, checkpoint: Any
) -> None:
    """Raise ValueError for a seed that is no whole number and for arguments that exclude one another."""
    if not isinstance(seed, Integral):
        raise ValueError(f"seed is {seed!r}, expected a whole number")
    if patience is not None and validation is None:
        raise ValueError(f"patience is {patience} without validation: pass validation=rows that are held out")
    if short_passes is not None and checkpoint is not None:
        raise ValueError("got short_passes with a checkpoint, which holds one run at a time: leave one of them out")


def validation_rows(validation: Any, rows: Rows, model: Any) -> Rows:
    """The validation rows, read with the column names and category codes of the rows of the fit."""
    try:
        held_out = rows_for_fit(validation, None, None, model if rows.schema is None else rows)
        columns = held_out.features
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"validation: {error}") from error
    if columns != rows.features:
        raise ValueError(f"validation has {columns} columns, expected {rows.features}, as the rows of the fit")
    return held_out
