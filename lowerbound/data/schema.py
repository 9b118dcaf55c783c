"""What a model remembers of the table it was fitted to: the names of its columns and of its categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .input_checks import is_category


@dataclass(frozen=True)
class Schema:
    """The names of the columns of a table, and of the categories of each column of categories.

    Args:
        columns: (d,) names.
        levels: (d,) for a column of categories their names in the order of their codes, for a column of numbers None.

    Example:
        >>> import pandas as pd
        >>> from lowerbound.data import Schema
        >>> Schema.of(pd.DataFrame({"age": [3.0], "sex": pd.Categorical(["m"], ["f", "m"])}))
        Schema(columns=('age', 'sex'), levels=(None, ('f', 'm')))
    """

    columns: tuple[str, ...]
    levels: tuple[tuple[str, ...] | None, ...]

    @classmethod
    def of(cls, x: pd.DataFrame) -> Schema:
        """The schema of a DataFrame."""
        levels = (tuple(map(str, kind.categories)) if is_category(kind) else None for kind in x.dtypes)
        return cls(tuple(map(str, x.columns)), tuple(levels))

    @classmethod
    def plain(cls, features: int) -> Schema:
        """The schema of `features` columns of numbers without names: "column 0", "column 1", ..."""
        return cls(tuple(f"column {j}" for j in range(features)), (None,) * features)

    def frame(self, x: np.ndarray) -> pd.DataFrame:
        """Rows (n, d) of numbers and codes, NaN where missing, as a DataFrame with these columns and categories."""
        parts = [
            pd.Series(values if words is None else pd.Categorical.from_codes(_codes(values), list(words)))
            for values, words in zip(x.T, self.levels, strict=True)
        ]
        return pd.concat(parts, axis=1).set_axis(list(self.columns), axis=1)

    def conform(self, x: pd.DataFrame, numbers: Any = None) -> pd.DataFrame:
        """`x` with its columns in the order of this schema, and its categories with the codes of this schema.

        Args:
            x: (n, d) table with the same column names, in any order. If all names differ, such as 0, 1, 2, the columns
                are taken in the order in which they come.
            numbers: (n,) row numbers for error messages; None: from 0.

        Returns:
            `x` itself if it already has this schema, else a reordered copy.

        Raises:
            ValueError: Some columns or categories are not in this schema, or a column of numbers holds categories.
        """
        new = Schema.of(x)
        if new == self:
            return x
        if sorted(new.columns) != sorted(self.columns):
            if set(new.columns).isdisjoint(self.columns) and len(new.columns) == len(self.columns):
                return x
            raise ValueError(f"got columns {_listed(new.columns)}, expected those of the fit, {_listed(self.columns)}")
        if len(set(self.columns)) == len(self.columns):
            x = x.iloc[:, [new.columns.index(name) for name in self.columns]]
        parts = [_recoded(x.iloc[:, j], name, self.levels[j], numbers) for j, name in enumerate(self.columns)]
        return pd.concat(parts, axis=1)


def _codes(values: np.ndarray) -> list[int]:
    return np.nan_to_num(values, nan=-1).astype(int).tolist()


def _recoded(column: pd.Series, name: str, words: tuple[str, ...] | None, numbers: Any) -> pd.Series:
    if column.dtype.kind in "fiub" and not is_category(column.dtype):
        return column  # for a column of categories these are their codes
    if words is None:
        raise ValueError(f"column {name!r} holds {column.dtype} values, expected numbers as in the table of the fit")
    text = column.astype(object).map(str, na_action="ignore")
    unknown = text.notna() & ~text.isin(words)
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        number = row if numbers is None else int(numbers[row])
        raise ValueError(f"row {number}, column {name!r} holds {text.iloc[row]!r}, expected one of {_listed(words)}")
    return pd.Series(pd.Categorical(text, categories=list(words)), index=column.index, name=column.name)


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words[:8]) + (f", ... ({len(words)})" if len(words) > 8 else "")
