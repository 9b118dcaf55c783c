"""The parameters of a distribution of Pyro and their constraints, read off its class."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch.distributions import Distribution, constraints


def parameter_constraint(distribution: type[Distribution], name: str) -> Any:
    """The constraint of a parameter. Raises ValueError if the distribution does not have this parameter, or its
    constraint depends on other arguments."""
    table: Any = distribution.arg_constraints
    kind = table.get(name) if isinstance(table, Mapping) else None
    if kind is None or kind is constraints.dependent or kind.is_discrete:
        known = ", ".join(table) if isinstance(table, Mapping) else "none"
        raise ValueError(
            f"{name!r} is no parameter of {distribution.__name__} that a gradient can change, expected some of "
            f"{known}: name others in parameters, or give it in fixed"
        )
    is_vector = isinstance(kind, constraints.independent) and kind.base_constraint is constraints.real
    return constraints.real_vector if is_vector else kind


def default_parameters(distribution: type[Distribution], fixed: Mapping[str, Any]) -> list[str]:
    """The parameters that a fit estimates by default.

    They are the arguments with a constraint that are required or have a number as default. Of alternatives with default
    None, such as probs and logits, the first is used.
    """
    table: Any = distribution.arg_constraints
    if not isinstance(table, Mapping):
        return []
    signature = inspect.signature(distribution.__init__).parameters
    known = [name for name in signature if name in table and name not in fixed]
    alternatives = [name for name in known if signature[name].default is None]
    chosen = [name for name in ("scale_tril", *alternatives) if name in alternatives][:1]
    return [name for name in known if signature[name].default is not None or name in chosen]
