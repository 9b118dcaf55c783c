"""Ability: several families side by side in one tensor, so that restarts on a small table run together."""

from ..family import Family


class SideBySide(Family):
    """A family that may hold `copies` times as many components, those of one mixture after those of another.

    Component c * k + j is then component j of copy c. Parameters named in `shared` have the copy on a new dim 0. A
    family can claim this ability if it takes the number of components from its parameters, and its hooks combine
    components of one copy only, as `sum_per_copy` does.

    Example:
        >>> from lowerbound.models import FamilyOf, Poisson, SideBySide
        >>> issubclass(Poisson, SideBySide), FamilyOf.repeatable
        (True, False)
    """

    repeatable = True
