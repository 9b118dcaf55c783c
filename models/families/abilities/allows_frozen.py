"""Ability: EM with some of several parameters frozen."""

from ..family import Family


class AllowsFrozen(Family):
    """A family whose M-step finds the best free parameters given the frozen ones (ECM: Meng & Rubin 1993).

    `maximize` asks `self.is_frozen(name)`. A family with a single parameter does not need this ability, and neither do
    fits by `SVI`. Without it, EM refuses a fit with some of several parameters frozen.
    """

    allows_frozen = True
