"""What our Pyro modules have beyond Pyro's: no global parameter store, and a memory of how they were made.

A `PyroModule` method normally writes its parameters into one global store under names such as "weights", so that two
mixtures, or a mixture and its copy, overwrite each other. `local_params` runs a method with that store emptied and
puts back what was there, whatever happens: the module's own `torch.nn.Parameter`s are the only truth.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from numbers import Integral
from typing import Any, TypeVar, no_type_check

import pyro
import torch
from pyro.nn import PyroModule, PyroParam
from pyro.nn.module import pyro_method
from torch.distributions import transform_to

Method = TypeVar("Method", bound=Callable[..., Any])
Module = TypeVar("Module", bound="Recorded")

_TABLES = ("_params", "_constraints", "_param_to_name")


@contextmanager
def empty_param_store() -> Iterator[None]:
    """In the body the global parameter store is empty; what was in it is put back.

    The store's own tables are swapped because `ParamStoreDict.scope()` strips `.unconstrained` from unconstrained
    parameters on the way out, and `pyro.infer.SVI.step` then fails.
    """
    store = pyro.get_param_store()
    outside = {table: getattr(store, table) for table in _TABLES}
    for table in _TABLES:
        setattr(store, table, {})
    try:
        yield
    finally:
        for table, content in outside.items():
            setattr(store, table, content)


def local_params(method: Method) -> Method:
    """A Pyro model or guide method that leaves no trace in the global parameter store."""
    inner = pyro_method(method)

    @wraps(method)
    def isolated(*args, **kwargs):
        with empty_param_store():
            return inner(*args, **kwargs)

    return isolated  # type: ignore[return-value]


def constructor_call(part: Any, show: Callable[[Any], str] = repr) -> str:
    """The call of the constructor that made a part which remembers its `arguments`: Gaussian(2, 3, prior='weak').

    show: writes one argument.
    """
    positional, named = part.arguments
    words = [*map(show, positional), *(f"{name}={show(value)}" for name, value in named.items())]
    return f"{type(part).__name__}({', '.join(words)})"


def device_of(module: torch.nn.Module) -> torch.device:
    """Where the module's parameters are; of one without parameters, its buffers."""
    # parameters() and buffers() look for tensors that are shared, which takes many times as long
    for kind in ("_parameters", "_buffers"):
        for part in module.modules():
            for own in getattr(part, kind).values():
                if own is not None:
                    return own.device
    return torch.device("cpu")


def on_the_cpu(method: Method) -> Method:
    """A method for which a module comes to the CPU, wherever it is, and then goes back: what is drawn is then the same
    everywhere for one seed, and what is made for a reader is on the CPU."""

    @wraps(method)
    def there_and_back(self, *args, **kwargs):
        home = device_of(self)
        if home.type == "cpu":
            return method(self, *args, **kwargs)
        self.to("cpu")
        try:
            return method(self, *args, **kwargs)
        finally:
            self.to(home)

    return there_and_back  # type: ignore[return-value]


class Recorded(PyroModule):
    """A Pyro module that remembers its constructor's arguments, so that a saved model can be built anew, whether its
    parameters were ever set, and which are frozen. Setting one takes a tensor of the parameter's shape, inside its
    constraint."""

    arguments: tuple[tuple, dict[str, Any]]
    names_set: set[str]  # parameters that are more than the constructor's placeholders
    constants: tuple[str, ...] = ()  # parameters that are frozen by what the model is
    forms: Mapping[str, Any] = {}  # the constraints of parameters that were taken away by `bare`

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        vars(self)["arguments"] = (args, kwargs)
        vars(self)["names_set"] = set()
        return self

    def __repr__(self) -> str:
        positional, named = self.arguments
        given = [value for value in (*positional, *named.values()) if isinstance(value, torch.nn.Module)]
        elsewhere = {*self.constants, *(id(p) for module in given for p in module.parameters())}  # those say so
        frozen = [n for n, p in self._names().items() if not p.requires_grad and not {n, id(p)} & elsewhere]
        return constructor_call(self) + (f".freeze({', '.join(map(repr, frozen))})" if frozen else "")

    def freeze(self: Module, *names: str) -> Module:
        """Hold parameters where they are: EM, SVI, restarts and any Pyro loop leave them. Returns the module itself.

        names: "weights", "family.loc" and so on, or as much of the path as says which one, "loc"; the name of a module
        inside, such as "decoder", stands for all its parameters. Set their values before a fit. What is held is torch's
        `requires_grad` of the unconstrained tensor. Raises ValueError for names of no parameter, or of several.
        """
        for parameter in self._called(names).values():
            parameter.requires_grad_(False)
        return self

    def thaw(self: Module, *names: str) -> Module:
        """Let frozen parameters move again, by the names of `freeze`. Returns the module itself."""
        called = self._called(names)
        if stuck := sorted(called.keys() & set(self.constants)):
            raise ValueError(f"the {stuck[0]} of {type(self).__name__} never move, expected other names")
        for parameter in called.values():
            parameter.requires_grad_(True)
        return self

    @no_type_check
    def is_frozen(self, name: str) -> bool:
        """Whether a parameter of this very module is held where it is."""
        return not getattr(self, f"{name}_unconstrained").requires_grad

    def require_frozen_set(self) -> None:
        """Raise ValueError if a frozen parameter was never set, and would be held at the constructor's placeholder."""
        for path, part in self.named_modules():
            for name in part._pyro_params if isinstance(part, Recorded) else ():
                if part.is_frozen(name) and name not in {*part.names_set, *part.constants}:
                    raise ValueError(
                        f"{f'{path}.{name}'.lstrip('.')} is frozen but was never set, expected a value to hold: assign "
                        "it before the fit, or thaw it"
                    )

    @property
    def is_set(self) -> bool:
        """Whether every parameter, here and in modules inside, has been set, by hand, by a fit or from a file."""
        return all(part.names_set >= part._pyro_params.keys() for part in self.recorded())

    def value(self, name: str) -> torch.Tensor:
        """A parameter of this very module by its name, in its constraint."""
        return getattr(self, name)

    def unconstrained(self, name: str) -> torch.Tensor:
        """The unconstrained tensor of a parameter of this very module, which gradients move."""
        return getattr(self, f"{name}_unconstrained")

    def at(self: Module, values: Mapping[str, torch.Tensor]) -> Module:
        """This module where its parameters have these values, by path, such as {"loc": ...} or {"parts.0.rate": ...}:
        tensors that gradients flow through; "rate_unconstrained" for one on its other side. It is to be read, not
        trained: all else is shared."""
        return _view(self, values, "")

    def bare(self: Module) -> Module:
        """This module without parameters of its own, for good: values come only by `at`. Returns the module itself."""
        for part in self.recorded():
            vars(part)["forms"] = {**part.forms, **{name: form for name, (form, _) in part._pyro_params.items()}}
            for name in tuple(part._pyro_params):
                delattr(part, name)
        return self

    def recorded(self) -> list["Recorded"]:
        """This module and all of this kind inside it."""
        return [part for part in self.modules() if isinstance(part, Recorded)]

    def _names(self) -> dict[str, torch.nn.Parameter]:
        """All parameters, here and inside, by their paths."""
        return {name.removesuffix("_unconstrained"): parameter for name, parameter in self.named_parameters()}

    def _called(self, names: Iterable[str]) -> dict[str, torch.nn.Parameter]:
        """The parameters that are called by these names, or by the beginnings or ends of theirs."""
        own, found = self._names(), {}
        for name in names or [""]:
            inside = [path for path in own if f"{path}.".startswith(f"{name}.")]
            called = inside or [path for path in own if _is_short_for(str(name), path)]
            if not inside and len(called) != 1:
                raise ValueError(
                    f"got {name!r} as the name of a parameter, which {'several have' if called else 'none has'}, "
                    f"expected {' or '.join(map(repr, called or own))}"
                )
            found |= {path: own[path] for path in called}
        return found

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.names_set.update(name for name in self._pyro_params if f"{prefix}{name}_unconstrained" in state_dict)

    @no_type_check  # asked some fifty times a pass, which tests with their checks of annotations would feel
    def __getattr__(self, name: str) -> Any:
        # tensors in which Pyro has no part, without asking it first: small fits do little else
        own = vars(self).get("_parameters" if name.endswith("_unconstrained") else "_buffers", {}).get(name)
        return super().__getattr__(name) if own is None else own

    @no_type_check
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
            if torch.equal(value, old):
                return  # not through its constraint and back: the bits stay
        super().__setattr__(name, value)


def _view(module: torch.nn.Module, values: Mapping[str, torch.Tensor], path: str) -> Any:
    """A copy that shares all but what `values` says of the module and those inside it."""
    view = object.__new__(type(module))
    vars(view).update(vars(module))
    vars(view)["_modules"] = {
        name: part and _view(part, values, f"{path}{name}.") for name, part in module._modules.items()
    }
    if isinstance(module, Recorded):
        for name, constraint in {**{n: c for n, (c, _) in module._pyro_params.items()}, **module.forms}.items():
            value, unconstrained = values.get(f"{path}{name}"), values.get(f"{path}{name}_unconstrained")
            if unconstrained is not None:
                value = transform_to(constraint)(unconstrained)
            elif value is not None:
                unconstrained = transform_to(constraint).inv(value)
            if value is not None:
                vars(view).update({name: value, f"{name}_unconstrained": unconstrained})
    return view


def _is_short_for(short: str, path: str) -> bool:
    """Whether a name is a path of which some parts but the last are left out: loc, family.loc of family.normal.loc."""
    parts, rest = short.split("."), iter(path.split("."))
    return path.split(".")[-1] == parts[-1] and all(part in rest for part in parts)


@contextmanager
def hold_fixed(kept: Iterable[tuple[Recorded, str]]) -> Iterator[None]:
    """In the body these parameters, each of a module and by name, are frozen."""
    free = [getattr(part, f"{name}_unconstrained") for part, name in kept if not part.is_frozen(name)]
    try:
        for parameter in free:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in free:
            parameter.requires_grad_(True)


@contextmanager
def restore_frozen(module: Recorded) -> Iterator[None]:
    """Frozen parameters, in the module and inside, come out of the body as they went in, to the bit."""
    frozen = [
        (part, name, getattr(part, name).detach().clone(), getattr(part, f"{name}_unconstrained").detach().clone())
        for part in module.recorded()
        for name in part._pyro_params
        if part.is_frozen(name)
    ]
    try:
        yield
    finally:
        for part, name, value, unconstrained in frozen:
            if not torch.equal(getattr(part, name), value):
                getattr(part, f"{name}_unconstrained").data = unconstrained
                setattr(part, name, value)  # where they are measured anew


def require_size(**sizes: Any) -> None:
    """Raise ValueError, naming the one, unless all are whole numbers of at least 1."""
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
