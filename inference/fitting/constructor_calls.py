"""x"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro.infer import autoguide
from torch import Tensor

from ... import models


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


def rebuild(description: Any) -> Any:
    if isinstance(description, list):
        return [rebuild(d) for d in description]
    if not isinstance(description, dict):
        return description
    if "mapping" in description:
        return {name: rebuild(d) for name, d in description["mapping"].items()}
    if "guide" in description:
        return getattr(autoguide, description["guide"])
    if "tensor" in description:
        return torch.tensor(description["tensor"], dtype=getattr(torch, description["dtype"]))
    if "distribution" in description:
        kind = getattr(dist, description["distribution"])
        settings = description.get("settings")
        return kind if settings is None else kind(**{name: rebuild(d) for name, d in settings.items()})
    made = getattr(models, description["class"], None) if description["class"] in models.__all__ else None
    if made is None:
        raise ValueError(
            f"the fit is of a {description['class']}, which lowerbound does not have: load(path, into=model) with a "
            "model of that kind"
        )
    return made(*map(rebuild, description["positional"]), **{n: rebuild(d) for n, d in description["named"].items()})
