"""Methods and flags by their names in earlier versions: they work, with a DeprecationWarning."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar


class HasOldNames:
    """A class whose subclasses may still write, call or set its methods and flags by their old names.

    Example:
        >>> import warnings
        >>> class Shape(HasOldNames):
        ...     old_names = {"surface": "area"}
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     class Square(Shape):  # warns: Square.surface is now called area
        ...         def surface(self):
        ...             return 4
        >>> Square().area()
        4
    """

    old_names: ClassVar[Mapping[str, str]] = {}  # the old name, and the new one

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for old, new in cls.old_names.items():
            _accept(cls, old, new)


class OldName:
    """What a class has under an old name: it reads, calls or sets the new one, as this very class has it.

    A method is looked up in the class, not in the object: `super().old(...)` must not come back to the subclass.
    """

    def __init__(self, kind: type, old: str, new: str):
        self.kind, self.old, self.new = kind, old, new

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        value = vars(_owner(self.kind, self.new) or self.kind).get(self.new)
        if instance is None:
            return value
        warn_of_old_name(f"{type(instance).__name__}.{self.old} is now called {self.new}")
        # vars: a flag may be set on the object
        return value.__get__(instance, type(instance)) if callable(value) else vars(instance).get(self.new, value)

    def __set__(self, instance: Any, value: Any) -> None:
        warn_of_old_name(f"{type(instance).__name__}.{self.old} is now called {self.new}")
        setattr(instance, self.new, value)


def _owner(kind: type, name: str) -> Any:
    return next((each for each in kind.__mro__ if name in vars(each)), None)


def _accept(kind: type, old: str, new: str) -> None:
    for each in kind.__mro__:
        if new in vars(each):
            break
        if old in vars(each) and not isinstance(vars(each)[old], OldName):
            warn_of_old_name(f"{kind.__name__}.{old} is now called {new}")
            setattr(kind, new, vars(each)[old])
            break
    if old not in vars(kind) and _owner(kind, new):
        setattr(kind, old, OldName(kind, old, new))


def warn_of_old_name(message: str) -> None:
    """A DeprecationWarning at the line that uses the old name."""
    warnings.warn(message, DeprecationWarning, stacklevel=5)
