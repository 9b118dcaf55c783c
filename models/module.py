"""The base class of our Pyro modules: it remembers constructor arguments, set parameters and frozen parameters.

Longer than 300 lines because `Recorded` has what every model and family inherits, documented once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from numbers import Integral
from typing import Any, TypeVar, no_type_check

import torch
from pyro.nn import PyroModule, PyroParam
from torch.distributions import transform_to

from .attribute_names import HasShortNames, NamesChecked, is_new_name, is_of_a_user, refuse
from .old_names import HasOldNames
from .readable_value import readable

Method = TypeVar("Method", bound=Callable[..., Any])
Module = TypeVar("Module", bound="Recorded")
NOTHING: Mapping[str, Any] = {}


def constructor_call(part: Any, show: Callable[[Any], str] = repr) -> str:
    """The constructor call of an object that remembers its `arguments`, such as "Gaussian(2, 3, prior='weak')".

    show: formats one argument.
    """
    positional, named = part.arguments
    words = [*map(show, positional), *(f"{name}={show(value)}" for name, value in named.items())]
    return f"{type(part).__name__}({', '.join(words)})"


def device_of(module: torch.nn.Module) -> torch.device:
    """The device of the module's parameters, or of its buffers if it has no parameters."""
    # not parameters() and buffers(): they search for shared tensors, which takes many times as long
    for kind in ("_parameters", "_buffers"):
        for part in module.modules():
            for own in vars(part)[kind].values():
                if own is not None:
                    return own.device
    return torch.device("cpu")


def on_the_cpu(method: Method) -> Method:
    """Decorator of a method that runs with the module on the CPU; afterwards the module is back on its device.

    Draws are then the same on every device for one seed, and what the method returns is on the CPU.
    """

    @wraps(method)
    def run_on_the_cpu(self, *args, **kwargs):
        home = device_of(self)
        if home.type == "cpu":
            return method(self, *args, **kwargs)
        self.to("cpu")
        try:
            return method(self, *args, **kwargs)
        finally:
            self.to(home)

    return run_on_the_cpu  # type: ignore[return-value]


class Recorded(HasShortNames, HasOldNames, PyroModule, metaclass=NamesChecked):
    """A Pyro module that remembers its constructor's arguments, which parameters were set, and which are frozen.

    The arguments are used to build a saved model again. A parameter is set by assignment, to a tensor, array or list of
    its shape that satisfies its constraint; the values are copied. A parameter of a module inside is read and set by
    its short name, too, where that is unique, as `mixture.loc`. On an object of this library's own classes, another
    public name that it does not have is refused: nobody would read it. Subclasses may add what they like.

    Example:
        >>> from lowerbound.models import Poisson
        >>> family = Poisson(components=2, features=1).freeze("rate")
        >>> family
        Poisson(components=2, features=1).freeze('rate')
        >>> family.rate = [[1.0], [3.0]]
        >>> family.is_set, family.is_frozen("rate")
        (True, True)
    """

    arguments: tuple[tuple, dict[str, Any]]
    names_set: set[str]  # parameters that were set, and no longer have the constructor's placeholder
    constants: tuple[str, ...] = ()  # parameters that are always frozen, by the definition of the model
    forms: Mapping[str, Any] = {}  # the constraints of the parameters that `bare` removed

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        vars(self)["arguments"] = (args, kwargs)
        vars(self)["names_set"] = set()
        return self

    def __repr__(self) -> str:
        positional, named = self.arguments
        given = [value for value in (*positional, *named.values()) if isinstance(value, torch.nn.Module)]
        # not listed: frozen by definition, or in an argument whose own repr lists them
        elsewhere = {*self.constants, *(id(p) for module in given for p in module.parameters())}
        frozen = [
            n for n, p in self._parameters_by_path().items() if not p.requires_grad and not {n, id(p)} & elsewhere
        ]
        return constructor_call(self) + (f".freeze({', '.join(map(repr, frozen))})" if frozen else "")

    def freeze(self: Module, *names: str) -> Module:
        """Keep parameters at their values: EM, SVI, restarts and any Pyro loop do not change them.

        Set their values before a fit. Freezing sets torch's `requires_grad` of the unconstrained tensor to False.

        Args:
            names: Paths such as "weights" or "family.loc", or a short form that is unique, such as "loc". The name of a
                module inside, such as "decoder", stands for all its parameters. No names stand for all parameters.

        Returns:
            The module itself.

        Raises:
            ValueError: A name is that of no parameter, or of several.

        Example:
            >>> from lowerbound.models import GaussianMixture
            >>> model = GaussianMixture(components=2, features=1).freeze("loc")
            >>> model.free_parameters()  # 1 weight and 2 scales
            3
        """
        for parameter in self._parameters_named(names).values():
            parameter.requires_grad_(False)
        return self

    def thaw(self: Module, *names: str) -> Module:
        """Undo `freeze`: let parameters change again.

        Args:
            names: As in `freeze`. No names stand for all parameters.

        Returns:
            The module itself.

        Raises:
            ValueError: A name is that of no parameter, or of several, or of one that the model never changes.

        Example:
            >>> from lowerbound.models import GaussianMixture
            >>> GaussianMixture(components=2, features=1).freeze("loc", "weights").thaw("loc")
            Mixture(Gaussian(2, 1, 'full', None, 0.0), None).freeze('weights')
        """
        parameters = self._parameters_named(names)
        if not names:
            parameters = {path: own for path, own in parameters.items() if path not in self.constants}
        if stuck := sorted(parameters.keys() & set(self.constants)):
            raise ValueError(f"the {stuck[0]} of {type(self).__name__} never change, expected other names")
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        return self

    @no_type_check
    def is_frozen(self, name: str) -> bool:
        """Whether a parameter of this module itself, such as "weights", is frozen."""
        return not self.unconstrained(name).requires_grad

    def require_frozen_set(self) -> None:
        """Raise ValueError if a frozen parameter was never set and still has the constructor's placeholder."""
        for path, part in self.named_modules():
            for name in part._pyro_params if isinstance(part, Recorded) else ():
                if part.is_frozen(name) and name not in {*part.names_set, *part.constants}:
                    raise ValueError(
                        f"{f'{path}.{name}'.lstrip('.')} is frozen but was never set, expected a value to keep: assign "
                        "it before the fit, or thaw it"
                    )

    @property
    def is_set(self) -> bool:
        """Whether every parameter, also of modules inside, has been set: by assignment, by a fit or from a file."""
        return all(part.names_set >= part._pyro_params.keys() for part in self.recorded())

    def value(self, name: str) -> torch.Tensor:
        """A parameter of this module itself by its name, inside its constraint."""
        return getattr(self, name)  # getattr: PyroModule computes constrained values in __getattr__

    def unconstrained(self, name: str) -> torch.Tensor:
        """The unconstrained tensor of a parameter of this module itself, which gradients change."""
        return getattr(self, f"{name}_unconstrained")  # getattr: views from `at` store it elsewhere than modules do

    @no_type_check
    def require_allowed(self, name: str, value: torch.Tensor) -> None:
        """Raise ValueError if a parameter of this module itself must not have this value, such as NaN."""
        constraint = vars(self)["_pyro_params"][name][0]
        if not bool(constraint.check(value).all()):
            # a value on the boundary, such as a rate of 0, is valid if the transform maps it back to itself
            to = transform_to(constraint)
            if not torch.allclose(to(to.inv(value)), value, rtol=1e-6, atol=0):
                raise ValueError(f"{name} got {value.tolist()}, expected {constraint!r}")

    def set_value(self, name: str, value: torch.Tensor) -> None:
        """Set a parameter of this module itself: an assignment without its copies, for M-steps.

        Args:
            name: The parameter.
            value: A new tensor of its shape. Raises ValueError if the constraint forbids it.
        """
        stored = self.unconstrained(name)
        value = value.detach().to(stored)
        self.require_allowed(name, value)
        stored.data = transform_to(vars(self)["_pyro_params"][name][0]).inv(value)
        self.names_set.add(name)

    def at(self: Module, values: Mapping[str, torch.Tensor]) -> Module:
        """A view of this module in which some parameters have other values. Gradients flow to these values.

        The view is for evaluation, not for training: it shares everything else with this module.

        Args:
            values: Tensors by path, such as {"loc": ...} or {"parts.0.rate": ...}, or unconstrained ones, such as
                {"rate_unconstrained": ...}.
        """
        return _view(self, values, "")

    def bare(self: Module) -> Module:
        """Remove all parameters of this module: it then has values only in the views from `at`. Returns itself."""
        for part in self.recorded():
            vars(part)["forms"] = {**part.forms, **{name: form for name, (form, _) in part._pyro_params.items()}}
            for name in tuple(part._pyro_params):
                delattr(part, name)
        return self

    def recorded(self) -> list["Recorded"]:
        """This module and all `Recorded` modules inside it."""
        return [part for part in self.modules() if isinstance(part, Recorded)]

    def _parameters_by_path(self) -> dict[str, torch.nn.Parameter]:
        """All parameters, also of modules inside, by their paths."""
        return {name.removesuffix("_unconstrained"): parameter for name, parameter in self.named_parameters()}

    def _parameters_named(self, names: Iterable[str]) -> dict[str, torch.nn.Parameter]:
        """The parameters with these paths or short forms, or in modules with these names; without names all."""
        own, found = self._parameters_by_path(), {}
        if not names:
            return own
        for name in names:
            inside = [path for path in own if f"{path}.".startswith(f"{name}.")]
            matches = inside or [path for path in own if _is_short_for(str(name), path)]
            if not inside and len(matches) != 1:
                raise ValueError(
                    f"got {name!r} as the name of a parameter, which {'several have' if matches else 'none has'}, "
                    f"expected {' or '.join(map(repr, matches or own))}"
                )
            found |= {path: own[path] for path in matches}
        return found

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.names_set.update(name for name in self._pyro_params if f"{prefix}{name}_unconstrained" in state_dict)

    @no_type_check  # called some fifty times a pass: the checks of annotations in the tests would be slow
    def __getattr__(self, name: str) -> Any:
        # unconstrained tensors, buffers and modules without Pyro's lookup: in small fits that takes most of the time
        held = vars(self)  # before __init__ of torch's Module it has no dicts
        if name.endswith("_unconstrained"):
            own = held.get("_parameters", NOTHING).get(name)
        else:
            own = held.get("_buffers", NOTHING).get(name)
            if own is None:
                own = held.get("_modules", NOTHING).get(name)
                if not (isinstance(own, PyroModule) and own._pyro_name):
                    own = None  # none of Pyro, or Pyro has yet to name it
        if own is not None:
            return own
        try:
            value = super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or name.endswith("_unconstrained") or not self.is_constructed:
                raise
            found = self.elsewhere(name)
            if found is None:
                raise
            part, name = found
            value = part.read_also(name) if name in part.also_set else part.value(name)
        # Pyro marks the value of a PyroParam so
        return readable(value) if isinstance(value, torch.Tensor) and "unconstrained" in vars(value) else value

    @no_type_check
    def __setattr__(self, name: str, value: Any) -> None:
        # vars: before __init__ of PyroModule there is no such dict
        if name in vars(self).get("_pyro_params", {}) and not isinstance(value, PyroParam):
            old = self.value(name)
            # arrays and lists become tensors: PyroModule would otherwise replace the parameter by them
            value = torch.as_tensor(value, dtype=old.dtype)
            if value.shape != old.shape:
                raise ValueError(f"{name} got shape {tuple(value.shape)}, expected {tuple(old.shape)}")
            # a copy: without a constraint, PyroParam would share memory with the caller's tensor
            value = value.detach().to(old).clone()
            self.require_allowed(name, value)
            self.names_set.add(name)
            if torch.equal(value, old):
                return  # the constraint's transform and its inverse would change the last bits
        elif is_new_name(self, name, value):
            found = self.elsewhere(name)
            if found is not None:
                return setattr(*found, value)
            if not is_of_a_user(self):
                raise refuse(self, name, self.names_to_set())
        super().__setattr__(name, value)


def _view(module: torch.nn.Module, values: Mapping[str, torch.Tensor], path: str) -> Any:
    """A copy of the module and those inside it, which shares everything but the parameters in `values`."""
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
    """Whether a name is the path without some of its parts, but with the last: loc, family.loc of family.normal.loc."""
    parts, rest = short.split("."), iter(path.split("."))
    return path.split(".")[-1] == parts[-1] and all(part in rest for part in parts)


@contextmanager
def hold_fixed(kept: Iterable[tuple[Recorded, str]]) -> Iterator[None]:
    """In the body these parameters, pairs of a module and a name, are frozen."""
    free = [part.unconstrained(name) for part, name in kept if not part.is_frozen(name)]
    try:
        for parameter in free:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in free:
            parameter.requires_grad_(True)


def has_frozen(module: torch.nn.Module) -> bool:
    """Whether some parameter of the module, or of those inside it, is frozen."""
    # not parameters(): see `device_of`
    held = (own for part in module.modules() for own in vars(part)["_parameters"].values())
    return any(own is not None and not own.requires_grad for own in held)


@contextmanager
def restore_frozen(module: Recorded) -> Iterator[None]:
    """After the body, the frozen parameters of the module and those inside it have their old values, to the bit."""
    if not has_frozen(module):
        yield
        return
    frozen = [
        (part, name, part.value(name).detach().clone(), part.unconstrained(name).detach().clone())
        for part in module.recorded()
        for name in part._pyro_params
        if part.is_frozen(name)
    ]
    try:
        yield
    finally:
        for part, name, value, unconstrained in frozen:
            if not torch.equal(part.value(name), value):
                part.unconstrained(name).data = unconstrained
                setattr(part, name, value)  # a family that changed its units stores the value in the new ones


def require_size(**sizes: Any) -> None:
    """Raise ValueError, with the argument's name, unless all are whole numbers of at least 1."""
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
