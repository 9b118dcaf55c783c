"""Optional abilities of a model that the table readers use. `models/abilities.py` lists all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from .schema import Schema


@runtime_checkable
class RemembersTable(Protocol):
    """A model that remembers the names of the columns and categories it was fitted to: new tables match by name."""

    schema: Schema | None


@runtime_checkable
class TakesMissingValues(Protocol):
    """A model whose rows may have missing values (NaN), which its bound integrates out."""

    @property
    def takes_missing(self) -> bool:
        """Whether this model takes them: a mixture does if its family does."""
        ...


@runtime_checkable
class RefusesValues(Protocol):
    """A model that refuses some values, such as negative counts, by an error that names the row in the whole table."""

    def _require_supported(self, x: Any, columns: Any, numbers: Any = None) -> None:
        """Raise ValueError for the first value that it does not support. numbers: of the rows in the table."""
        ...


@runtime_checkable
class HasNumericColumns(Protocol):
    """A model with columns that hold numbers: the codes of categories mean nothing there."""

    @property
    def numeric_columns(self) -> Sequence[int]:
        """Which columns these are."""
        ...


def takes_missing(model: Any) -> bool:
    """Whether rows of this model may have missing values."""
    return isinstance(model, TakesMissingValues) and model.takes_missing


def remembered_schema(model: Any) -> Schema | None:
    """The schema of the table that this model was fitted to, or None."""
    return model.schema if isinstance(model, RemembersTable) else None


def refuse_categories(columns: Iterable[Any], are_categories: Iterable[bool], model: Any) -> None:
    """Raise ValueError, naming the column, if categories stand in a column of numbers of this model.

    columns: (d,) their names; are_categories: (d,) which of them hold categories.
    """
    if not isinstance(model, HasNumericColumns):
        return
    numeric = set(model.numeric_columns)
    for j, (name, is_category) in enumerate(zip(columns, are_categories, strict=True)):
        if is_category and j in numeric:
            raise ValueError(
                f"column {str(name)!r} holds categories, expected numbers: their codes are no measurements; drop the "
                "column, or use mixed(x, components), which chooses by column"
            )
