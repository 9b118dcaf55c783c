"""How a fitted model was made, in one short line, for reports and the command line."""

from __future__ import annotations

from typing import Any

from ...models import Network
from ...models.module import Recorded, constructor_call


def describe_model(model: Any) -> str:
    """The constructor call of a model, such as Mixture(Gaussian(2, 2, 'full')).

    Unlike `repr`, it does not say which parameters are frozen, and shows arguments such as tensors by their type alone.
    """
    if isinstance(model, Recorded | Network):
        return constructor_call(model, describe_model)
    if isinstance(model, list | tuple):
        return f"[{', '.join(map(describe_model, model))}]"
    return repr(model) if isinstance(model, str | int | float | None) else type(model).__name__
