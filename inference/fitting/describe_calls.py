"""Models and priors as JSON: the calls of the constructors that make them again.

A saved fit holds the description of its model, of which `rebuild.py` makes it; a checkpoint compares descriptions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import pyro.distributions as dist
import torch
from pyro.infer import autoguide
from torch import Tensor

from ... import models
from ...models.abilities import is_module


class UnknownClass(ValueError):
    """A description names a class of the user's own, which only a model of that class can be read into."""


@runtime_checkable
class RemembersArguments(Protocol):
    """An object that remembers the arguments of its constructor, positional and named: models, families, networks."""

    arguments: tuple[tuple, dict[str, Any]]


def describe(value: Any) -> Any:
    """An object as JSON: numbers and strings as they are, tensors as lists, others by class and arguments."""
    if isinstance(value, RemembersArguments):
        positional, named = value.arguments
        return {
            "class": type(value).__name__,
            "positional": [describe(v) for v in positional],
            "named": {name: describe(v) for name, v in named.items()},
        }
    if isinstance(value, models.NormalInverseWishart):
        fields = {f.name: describe(vars(value)[f.name]) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, "positional": [], "named": fields}
    if isinstance(value, models.PosteriorDraws):
        return {"class": "PosteriorDraws", "positional": [value.chains, value.draws], "named": {}}
    # vars: the names in a module of Pyro's
    if isinstance(value, type) and vars(autoguide).get(value.__name__) is value:
        return {"guide": value.__name__}
    if isinstance(value, type):
        kind = "distribution" if _is_known(value) else "class"
        return {kind: value.__name__, **({} if _is_known(value) else {"positional": [], "named": {}})}
    if isinstance(value, torch.distributions.Distribution):
        if not _is_known(type(value)):
            # only `load(path, into=model)` can make it
            return {"class": type(value).__name__, "positional": [], "named": {}}
        names = list(type(value).arg_constraints)  # type: ignore[reportGeneralTypeIssues]
        own = [name for name in names if name in vars(value)] or names  # of probs and logits the one given
        # a parameter of a distribution may be computed when it is first asked for
        return {"distribution": type(value).__name__, "settings": {n: describe(getattr(value, n)) for n in own}}
    if isinstance(value, Tensor):
        return {"tensor": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, Mapping):
        return {"mapping": {name: describe(v) for name, v in value.items()}}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if hasattr(value, "tolist"):  # arrays and scalars of numpy, pandas and other libraries
        return value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    name = type(value).__name__
    if name in models.__all__:  # a user's class with the name of one of ours
        name = f"{type(value).__module__}.{name}"
    return {"class": name, "positional": [], "named": {}}  # only `load(path, into=model)` can make it


def frozen_parameters(model: Any) -> list[str]:
    """The names of the unconstrained tensors that are frozen."""
    named = model.named_parameters() if is_module(model) else ()
    return [name for name, parameter in named if not parameter.requires_grad]


def _is_known(kind: type) -> bool:
    """Whether a distribution can be made again from its parameters: those of torch and Pyro can."""
    # vars: the names in a module of Pyro's
    return vars(dist).get(kind.__name__) in (kind, *kind.__subclasses__()) and kind.__name__ != "Independent"


def class_names(description: Any) -> str:
    """The classes in a description, outermost first: "Mixture of Gaussian"."""
    if isinstance(description, list):
        return " of ".join(filter(None, map(class_names, description)))
    if not isinstance(description, dict):
        return ""
    if "class" not in description:
        return str(description.get("distribution", description.get("guide", "")))
    inner = class_names([*description["positional"], *description["named"].values()])
    return f"{description['class']} of {inner}" if inner else description["class"]
