"""Names of hooks and flags in families written for earlier versions: they work, with a warning."""

from __future__ import annotations

import warnings
from typing import Any

from ..old_names import warn_of_old_name

HOOKS = {  # of a family: the old name, and the new one
    "anchor": "set_units",
    "carry": "remeasure",
    "refused": "unsupported",
    "doubt": "nan_if_unsupported",
    "places": "fixed_location",
    "place": "location_parameter",
    "conditional": "allows_frozen",
    "require_conditional": "require_allows_frozen",
    "per_copy": "sum_per_copy",
}
FLAGS = {"takes_missing": "TakesMissing", "repeatable": "SideBySide", "allows_frozen": "AllowsFrozen"}
WRITTEN = {  # hooks of families with an ability, which may also set its flag in __init__
    "expected_log_prob": "HasExpectedLogProb",
    "gain": "Conjugate",
    "expected_statistics": "TakesMissing",
    "visit_missing": "TakesMissing",
}


def adopt_abilities(kind: Any, base: Any) -> None:
    """Give a subclass of `base` the abilities that its flags and hooks claim, with a DeprecationWarning for each."""
    own, ours = vars(kind), __package__ or ""
    if kind.__module__.startswith(ours):
        return
    abilities = {each.__name__: each for each in base.__subclasses__() if each.__module__.startswith(ours)}
    for flag, name in FLAGS.items():
        if own.get(flag) is True and not issubclass(kind, abilities[name]):
            _tell(f"{kind.__name__} has {flag} = True", kind, name)
            _adopt(kind, base, abilities[name])
    for hook, name in WRITTEN.items():
        if hook in own and not issubclass(kind, abilities[name]):
            if name == "TakesMissing" and kind.takes_missing:
                continue  # already adopted
            _tell(f"{kind.__name__} writes {hook}()", kind, name)
            _adopt(kind, base, abilities[name])
    if "beliefs" in own:
        warnings.warn(
            f"{kind.__name__} writes beliefs(), which is no longer called, expected the hooks of the ability "
            "Conjugate: weak_belief, gain, expected and predictive (tutorials/add_a_family.md)",
            FutureWarning,
            stacklevel=3,
        )


def _tell(what: str, kind: Any, name: str) -> None:
    warn_of_old_name(f"{what}, now said by its class line: class {kind.__name__}(..., {name})")


def _adopt(kind: Any, base: Any, ability: Any) -> None:
    """The hooks of an ability that the class does not write itself."""
    for name, hook in vars(ability).items():
        if not callable(hook) or name.startswith("_"):
            continue
        if not any(name in vars(each) for each in kind.__mro__ if each is not base):
            setattr(kind, name, hook)
    kind.has_expected_log_prob |= ability.has_expected_log_prob
    kind.is_conjugate |= ability.is_conjugate
