"""The checks of the arguments of `fit`, before any row is read: each error says what to pass instead."""

from __future__ import annotations

from numbers import Integral, Real
from types import FunctionType
from typing import Any

from ...data.input_checks import counted
from ...data.seeds import require_seed
from ...models import LatentModel, Rows
from ...models.abilities import DoubtsComponents, HasState, is_module
from ...models.contract import lacking
from ..engines.contract import Engine
from .distributed_rows import rows_for_fit
from .fit_result import Fit


def require_model(model: Any) -> None:
    """Raise TypeError, naming what is missing, if this is not a model."""
    if isinstance(model, Fit):
        raise TypeError("got a fit as the model, expected a model: pass its .model")
    if isinstance(model, LatentModel) and not isinstance(model, type):
        return
    if isinstance(model, type | FunctionType):  # a short constructor, such as GaussianMixture, is a function
        kind = "class" if isinstance(model, type) else "function"
        raise TypeError(
            f"got the {kind} {model.__name__} as the model, expected a model: call it, {model.__name__}(...)"
        )
    lacks = lacking(model, LatentModel)
    some = f": it lacks {', '.join(lacks)}" if len(lacks) < len(lacking(None, LatentModel)) else ""
    raise TypeError(f"got {type(model).__name__} as the model, expected one such as GaussianMixture(2, 2){some}")


def require_state(model: Any, purpose: str) -> None:
    """Raise TypeError unless the state of a model can be stored and put back."""
    if not isinstance(model, HasState):
        leave = "" if purpose == "Fit.save" else f", or leave {purpose} out"
        raise TypeError(
            f"{type(model).__name__} has no state_dict() and load_state_dict(), expected them for {purpose}: derive it "
            f"from torch.nn.Module{leave}"
        )


def require_engine(engine: Any) -> None:
    """Raise TypeError if this is not an engine but, say, the class of one."""
    if isinstance(engine, type | FunctionType):
        name = engine.__name__
        raise TypeError(f"got {name} itself as the engine, expected one such as EM() or SVI(): call it, {name}()")
    if not isinstance(engine, Engine):
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
    require_seed(seed)
    if patience is not None and validation is None:
        raise ValueError(f"patience is {patience} without validation: pass validation=rows that are held out")
    if short_passes is not None and checkpoint is not None:
        raise ValueError("got short_passes with a checkpoint, which holds one run at a time: leave one of them out")


def require_least_rows(least_rows: Any, model: Any) -> None:
    """Raise ValueError for `least_rows` that is no number of rows, and TypeError for a model whose weights do not say
    how many rows a component holds."""
    if least_rows is None:
        return
    if not isinstance(least_rows, Real) or not 0 < float(least_rows) < float("inf"):
        raise ValueError(f"least_rows is {least_rows!r}, expected a positive number of rows")
    if not counts_rows(model):
        raise TypeError(
            f"least_rows is {least_rows!r}, but {type(model).__name__} has no weights that are estimated, expected a "
            "mixture: leave it out"
        )


def counts_rows(model: Any) -> bool:
    """Whether the weights of a model say how many rows its components hold: they are estimated."""
    named = model.named_parameters() if is_module(model) else ()
    fixed = any(name == "weights_unconstrained" and not parameter.requires_grad for name, parameter in named)
    return isinstance(model, DoubtsComponents) and not fixed


def validation_rows(validation: Any, rows: Rows, model: Any) -> Rows:
    """The validation rows, read with the column names and category codes of the rows of the fit."""
    try:
        held_out = rows_for_fit(validation, None, None, model if rows.schema is None else rows)
        columns = held_out.features
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"validation: {error}") from error
    if columns != rows.features:
        raise ValueError(
            f"validation has {counted(columns, 'column')}, expected {rows.features}, as the rows of the fit"
        )
    return held_out
