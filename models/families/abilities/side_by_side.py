"""Ability: several families side by side in one tensor, so that restarts on a small table run together."""

from ..family import Family


class SideBySide(Family):
    """A family that may hold `copies` times as many components, those of one mixture after those of another.

    Component c * k + j is then component j of copy c. Parameters named in `shared` have the copy on a new dim 0. It is
    for families that take the number of components from their parameters, and whose hooks combine only components of
    one copy, if any (as `sum_per_copy` does).
    """

    repeatable = True
