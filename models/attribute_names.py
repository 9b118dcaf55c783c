"""Names that can be set on our modules: parameters inside by their short names, and no name that nobody reads."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

import torch
from pyro.nn import PyroModule, PyroParam, PyroSample

# what other libraries call a parameter
SYNONYMS = {
    "loc": (
        *("mean", "mean_", "means", "means_", "mu", "center", "centers", "centre", "centres", "cluster_centers_"),
        "location",
    ),
    "covariance": ("covariances", "covariances_", "cov", "sigma"),
    "scale": ("std", "sd", "stddev", "sigma", "variance", "variances", "noise_variance_"),
    "weights": ("weights_", "pi", "proportions", "mixing", "priors"),
    "rate": ("rates", "lambda_", "lam"),
    "probs": ("p", "probabilities", "prob", "theta"),
    "dof": ("df", "nu", "degrees_of_freedom"),
    "loading": ("loadings", "components_", "W"),
}
ASSIGNABLE = (PyroParam, PyroSample, torch.nn.Module)  # whatever its name, Pyro or torch reads it


class NamesChecked(type(PyroModule)):
    """The class of our module classes: it marks objects whose constructor has ended, from when names are checked."""

    @property
    def __signature__(cls) -> inspect.Signature:
        """That of the constructor, which `inspect` would otherwise read off `__call__` below."""
        own = inspect.signature(cls.__init__)
        return own.replace(parameters=list(own.parameters.values())[1:])

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an object."""
        made = super().__call__(*args, **kwargs)
        vars(made)["is_constructed"] = True
        return made


class HasShortNames:
    """What `Recorded` knows of the names of parameters in modules inside."""

    also_set: tuple[str, ...] = ()  # what can be set in place of a parameter, such as a covariance
    is_constructed = False  # whether the constructor has ended: names are checked from then on

    def elsewhere(self: Any, name: str) -> tuple[Any, str] | None:
        """The module inside, and the name there, of the parameter with this short name; None if none or several have
        it."""
        if name.startswith("_"):
            return None
        paths = [path for path in self._parameters_by_path() if path.rpartition(".")[2] == name and path != name]
        if len(paths) == 1:
            return self.get_submodule(paths[0].rpartition(".")[0]), name
        parts = [part for part in self.recorded() if name in part.also_set and part is not self]
        return (parts[0], name) if len(parts) == 1 else None

    def names_to_set(self: Any) -> set[str]:
        """The short names of all parameters, also of modules inside, and what can be set in their place."""
        return {path.rpartition(".")[2] for path in self._parameters_by_path()}.union(
            *(part.also_set for part in self.recorded())
        )

    def read_also(self, name: str) -> Any:
        """The value of a name in `also_set`, written by the classes that have such names."""
        raise NotImplementedError(f"{type(self).__name__}.read_also({name!r}) is not written")


def is_new_name(module: Any, name: str, value: Any) -> bool:
    """Whether this is a public name that a constructed module does not have, neither itself nor its class.

    Names with an underscore, modules inside and sites of Pyro are not counted: Pyro or torch reads them. A
    `torch.nn.Parameter` is counted, as a tensor is: nobody would read it.
    """
    if name.startswith("_") or isinstance(value, ASSIGNABLE) or not module.is_constructed:
        return False
    if name == "learning_rate":  # the default of `SVI` for this model
        return False
    if any(name in own for own in (vars(module), module._parameters, module._buffers, module._modules)):
        return False
    return not any(name in vars(each) or name in inspect.get_annotations(each) for each in type(module).__mro__)


def is_of_a_user(module: Any) -> bool:
    """Whether the class is not this library's own: such an object may have whatever further attributes it likes."""
    return type(module).__module__.partition(".")[0] != __name__.partition(".")[0]


def refuse(module: Any, name: str, known: Iterable[str]) -> AttributeError:
    """The error for such a name, with the one that was meant, if any is near it."""
    known = sorted(set(known))
    near = [meant for meant, words in SYNONYMS.items() if name in words and meant in known]
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return AttributeError(
        f"a {type(module).__name__} has no {name!r}, expected {' or '.join(map(repr, near or known)) or 'no attribute'}"
    )
