"""Ability: EM with some of several parameters frozen."""

from ..family import Family


class AllowsFrozen(Family):
    """A family whose M-step finds the best free parameters given the frozen ones (ECM: Meng & Rubin 1993).

    `maximize` asks `self.is_frozen(name)`. A family with a single parameter does not need this ability, and neither do
    fits by `SVI`. Without it, EM refuses a fit with some of several parameters frozen.

    Example:
        >>> import torch
        >>> from lowerbound.models import AllowsFrozen, Gaussian
        >>> family = Gaussian(components=1, features=1)
        >>> isinstance(family, AllowsFrozen)
        True
        >>> family.freeze("loc").match(torch.tensor([[1.0, 5.0]]))  # loc stays at 0
        >>> family.loc.item(), round(family.scale_tril.item() ** 2, 6)  # E[(x - 0)^2]
        (0.0, 5.0)
    """

    allows_frozen = True
