"""What the columns of a table are taken for, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, SupportsIndex, overload

from .schema import Schema

FAMILIES = (
    "gaussian", "student", "gamma", "exponential", "poisson", "negative-binomial", "bernoulli", "categorical",
)  # fmt: skip
DROP = "drop"
COUNT = "count"  # whole numbers of which a first fit says whether they are counts, categories or measurements


@dataclass(frozen=True)
class ColumnKind:
    """What a column is taken for, and why.

    Args:
        name: Of the column.
        kind: The family of the column, such as "gaussian", or "drop" if it is left out.
        reason: Why, in words.
        levels: The names of its categories in the order of their codes; None for a column of numbers.
        least_scale: The least standard deviation of a component, in units of the column; 0 for none. A Gaussian column
            that has one is independent of the others within a component.
        is_guess: Whether it may well be something else: `mixed` warns of it.

    Example:
        >>> from lowerbound.data import ColumnKind
        >>> ColumnKind("grams", "gaussian", "measurements").kind
        'gaussian'
    """

    name: str
    kind: str
    reason: str
    levels: tuple[str, ...] | None = None
    least_scale: float = 0.0
    is_guess: bool = False


class ColumnKinds(tuple[ColumnKind, ...]):
    """The kinds of all columns of a table, in order: a tuple of `ColumnKind` that prints as a table.

    Example:
        >>> from lowerbound.data import ColumnKind, ColumnKinds
        >>> print(ColumnKinds([ColumnKind("x", "gaussian", "measurements"), ColumnKind("id", "drop", "row numbers")]))
        column  taken for  because
        x       gaussian   measurements
        id      left out   row numbers
    """

    @overload
    def __getitem__(self, index: SupportsIndex) -> ColumnKind: ...

    @overload
    def __getitem__(self, index: slice) -> ColumnKinds: ...

    def __getitem__(self, index: Any) -> ColumnKind | ColumnKinds:
        found = super().__getitem__(index)
        return ColumnKinds(found) if isinstance(index, slice) else found

    def __str__(self) -> str:
        lines = [("column", "taken for", "because")]
        lines += [(each.name, "left out" if each.kind == DROP else each.kind, each.reason) for each in self]
        widths = [max(len(line[i]) for line in lines) for i in range(2)]
        return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in lines)

    @property
    def kept(self) -> list[ColumnKind]:
        """The columns that are not left out."""
        return [each for each in self if each.kind != DROP]

    @property
    def schema(self) -> Schema:
        """The names of the columns that are kept, and of their categories."""
        return Schema(tuple(each.name for each in self.kept), tuple(each.levels for each in self.kept))
