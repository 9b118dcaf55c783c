"""What our Pyro modules have beyond Pyro's: no global parameter store, and a memory of how they were made.

A `PyroModule` method normally writes its parameters into one global store under names such as "weights", so that two
mixtures, or a mixture and its copy, overwrite each other. `local_params` runs a method with that store emptied and
puts back what was there, whatever happens: the module's own `torch.nn.Parameter`s are the only truth.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import pyro
import torch
from pyro.nn import PyroModule, PyroParam
from pyro.nn.module import pyro_method
from torch.distributions import transform_to

Method = TypeVar("Method", bound=Callable[..., Any])

_TABLES = ("_params", "_constraints", "_param_to_name")


def local_params(method: Method) -> Method:
    """A Pyro model or guide method that leaves no trace in the global parameter store.

    The store's own tables are swapped because `ParamStoreDict.scope()` strips `.unconstrained` from unconstrained
    parameters on the way out, and `pyro.infer.SVI.step` then fails.
    """
    inner = pyro_method(method)

    @wraps(method)
    def isolated(*args, **kwargs):
        store = pyro.get_param_store()
        outside = {table: getattr(store, table) for table in _TABLES}
        for table in _TABLES:
            setattr(store, table, {})
        try:
            return inner(*args, **kwargs)
        finally:
            for table, content in outside.items():
                setattr(store, table, content)

    return isolated  # type: ignore[return-value]


def as_made(part: Any) -> str:
    """The call of the constructor that made a part which remembers its `arguments`: Gaussian(2, 3, prior='weak')."""
    positional, named = part.arguments
    words = [*map(repr, positional), *(f"{name}={value!r}" for name, value in named.items())]
    return f"{type(part).__name__}({', '.join(words)})"


class Recorded(PyroModule):
    """A Pyro module that remembers its constructor's arguments, so that a saved model can be built anew, and whether
    its parameters were ever set. Setting one takes a tensor of the parameter's shape, inside its constraint."""

    arguments: tuple[tuple, dict[str, Any]]
    names_set: set[str]  # parameters that are more than the constructor's placeholders

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        vars(self)["arguments"] = (args, kwargs)
        vars(self)["names_set"] = set()
        return self

    def __repr__(self) -> str:
        return as_made(self)

    @property
    def is_set(self) -> bool:
        """Whether every parameter, here and in modules inside, has been set, by hand, by a fit or from a file."""
        return all(part.names_set >= part._pyro_params.keys() for part in self.recorded())

    def recorded(self) -> list["Recorded"]:
        """This module and all of this kind inside it."""
        return [part for part in self.modules() if isinstance(part, Recorded)]

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.names_set.update(name for name in self._pyro_params if f"{prefix}{name}_unconstrained" in state_dict)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self).get("_pyro_params", {}) and not isinstance(value, PyroParam):
            old = getattr(self, name)
            # arrays and lists, too: they would otherwise take the parameter's place
            value = torch.as_tensor(value, dtype=old.dtype)
            if value.shape != old.shape:
                raise ValueError(f"{name} got shape {tuple(value.shape)}, expected {tuple(old.shape)}")
            # a copy: PyroParam would otherwise share memory with the caller's tensor where nothing is constrained
            value = value.detach().to(old).clone()
            constraint = vars(self)["_pyro_params"][name][0]
            if not bool(constraint.check(value).all()):
                # the boundary, such as a rate of 0, is fine: it comes back from the unconstrained side as it went
                to = transform_to(constraint)
                if not torch.allclose(to(to.inv(value)), value, rtol=1e-6, atol=0):
                    raise ValueError(f"{name} got {value.tolist()}, expected {constraint!r}")
            self.names_set.add(name)
        super().__setattr__(name, value)
