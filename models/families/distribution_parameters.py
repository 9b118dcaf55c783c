"""What the parameters of a distribution are, read off its class."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch.distributions import Distribution, constraints


def constraint_of(distribution: type[Distribution], name: str) -> Any:
    """Where a parameter may lie. Raises ValueError if the distribution does not have it, or no fixed set for it."""
    table: Any = distribution.arg_constraints
    kind = table.get(name) if isinstance(table, Mapping) else None
    if kind is None or kind is constraints.dependent or kind.is_discrete:
        known = ", ".join(table) if isinstance(table, Mapping) else "none"
        raise ValueError(
            f"{name!r} is no parameter of {distribution.__name__} that a gradient can move, expected some of {known}: "
            "name others as parameters, or give it in fixed"
        )
    return constraints.real_vector if getattr(kind, "base_constraint", None) is constraints.real else kind


def parameters_of(distribution: type[Distribution], fixed: Mapping[str, Any]) -> list[str]:
    """Arguments with a constraint that have no default, or a number; and one of those that stand for each other."""
    table: Any = distribution.arg_constraints
    if not isinstance(table, Mapping):
        return []
    signature = inspect.signature(distribution.__init__).parameters
    known = [name for name in signature if name in table and name not in fixed]
    either = [name for name in known if signature[name].default is None]
    one = [name for name in ("scale_tril", *either) if name in either][:1]
    return [name for name in known if signature[name].default is not None or name in one]
