"""Names of hooks and flags in families written for earlier versions: they work, with a warning."""

from __future__ import annotations

import warnings
from typing import Any

HOOKS = {  # of a family: the old name, and the new one
    "anchor": "set_units",
    "carry": "remeasure",
    "refused": "unsupported",
    "doubt": "nan_if_unsupported",
    "places": "fixed_location",
    "place": "location_parameter",
    "conditional": "allows_frozen",
}
FLAGS = {"takes_missing": "TakesMissing", "repeatable": "SideBySide", "allows_frozen": "AllowsFrozen"}
WRITTEN = {"expected_log_prob": "HasExpectedLogProb", "gain": "Conjugate"}  # hooks of families with an ability


def accept_old_names(kind: Any, base: Any) -> None:
    """Give a subclass of `base` that uses old names the new ones, with a DeprecationWarning for each."""
    own = vars(kind)
    for old, new in HOOKS.items():
        if old in own and new not in own:
            _warn(f"{kind.__name__}.{old} is now called {new}")
            setattr(kind, new, own[old])
    if kind.__module__.startswith(__package__):
        return
    abilities = {ability.__name__: ability for ability in base.__subclasses__()}
    for flag, name in FLAGS.items():
        if own.get(flag) is True and not issubclass(kind, abilities[name]):
            _warn(f"{kind.__name__} has {flag} = True, now said by its class line: class {kind.__name__}(..., {name})")
            _adopt(kind, base, abilities[name])
    for hook, name in WRITTEN.items():
        if hook in own and not issubclass(kind, abilities[name]):
            _warn(f"{kind.__name__} writes {hook}(), now said by its class line: class {kind.__name__}(..., {name})")
            _adopt(kind, base, abilities[name])


def _adopt(kind: Any, base: Any, ability: Any) -> None:
    """The hooks of an ability that the class does not write itself."""
    for name, hook in vars(ability).items():
        if not callable(hook) or name.startswith("_"):
            continue
        if not any(name in vars(each) for each in kind.__mro__ if each is not base):
            setattr(kind, name, hook)
    kind.has_expected_log_prob |= ability.has_expected_log_prob
    kind.is_conjugate |= ability.is_conjugate


def _warn(message: str) -> None:
    warnings.warn(message, DeprecationWarning, stacklevel=4)
