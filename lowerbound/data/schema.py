"""What a model remembers of the table it was fitted to: the names of its columns and of its categories."""

from __future__ import annotations

import re
from collections.abc import Sequence
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

    def conform(self, x: pd.DataFrame | np.ndarray, numbers: Any = None) -> Any:
        """The columns of `x` that this schema names, in its order, and its categories with the codes of this schema.

        Args:
            x: (n, d) table with these column names, in any order, and perhaps others, which are left out. If all names
                differ, such as 0, 1, 2, the columns are taken in the order in which they come. An array has no names:
                its columns are taken in order, or by number if this schema is one of "column 0", "column 3", ...
            numbers: (n,) row numbers for error messages; None: from 0.

        Returns:
            `x` itself if it already has this schema, else a reordered copy. Of a column of numbers that are categories
            here, such as 1, 2 and 9, the codes.

        Raises:
            ValueError: A column or category is missing or not in this schema, or a column of numbers holds categories.
        """
        if isinstance(x, np.ndarray):
            x = self._with_names(x)
            if isinstance(x, np.ndarray):
                return x
        new = Schema.of(x)
        if new == self:
            return x
        columns = self._found_in(new.columns)
        if columns is None:
            return x
        parts = [
            _recoded(x.iloc[:, j], name, words, numbers)
            for j, name, words in zip(columns, self.columns, self.levels, strict=True)
        ]
        return pd.concat(parts, axis=1)

    def _found_in(self, names: tuple[str, ...]) -> Sequence[int] | None:
        """Where each column of this schema stands among these names; None if the tables have no name in common."""
        if len(names) == len(self.columns) and set(names).isdisjoint(self.columns):
            return None
        if sorted(names) == sorted(self.columns) and len(set(names)) < len(names):
            return range(len(names))  # columns of one name are told apart by their order alone
        for name in self.columns:
            if (count := names.count(name)) != 1:
                raise ValueError(
                    f"got columns {_listed(names)}, expected those of the fit, {_listed(self.columns)}: column "
                    f"{name!r} is {'missing' if count == 0 else 'there more than once'}"
                )
        return [names.index(name) for name in self.columns]

    def _with_names(self, x: np.ndarray) -> pd.DataFrame | np.ndarray:
        """An array as a DataFrame if its columns are not those of this schema, or not their codes."""
        numbered = all(re.fullmatch(r"column \d+", name) for name in self.columns)
        if x.ndim != 2 or x.dtype.kind not in "fiub" or not (numbered or x.shape[1] == len(self.columns)):
            return x
        if x.shape[1] != len(self.columns):
            return pd.DataFrame(x, columns=[f"column {j}" for j in range(x.shape[1])])
        values = [None if words is None else numbers_in(words) for words in self.levels]
        if all(own is None or np.array_equal(own, np.arange(len(own))) for own in values):
            return x
        return pd.DataFrame(x, columns=list(self.columns))


def numbers_in(words: Sequence[str]) -> np.ndarray | None:
    """The numbers that the names of categories are, such as those of "1", "2" and "9"; None if one of them is none."""
    try:
        return np.array([float(word) for word in words])
    except ValueError:
        return None


def _codes(values: np.ndarray) -> list[int]:
    return np.nan_to_num(values, nan=-1).astype(int).tolist()


def _recoded(column: pd.Series, name: str, words: tuple[str, ...] | None, numbers: Any) -> pd.Series:
    """A column as this schema has it: numbers, or categories with these words."""
    kind: Any = column.dtype
    if words is None:
        if is_category(kind) or kind.kind not in "fiub":
            raise ValueError(f"column {name!r} holds {kind} values, expected numbers as in the table of the fit")
        return column
    if is_category(kind):
        own = _codes_of(pd.Series(kind.categories), words)
        codes = np.append(own, -1)[column.cat.codes.to_numpy()]  # the code of a missing value is -1, the last
    elif kind.kind in "fiu" and numbers_in(words) is None:
        return column  # these are the codes
    elif kind.kind == "b" and not {"True", "False"} & set(words):
        return column
    else:
        codes = _codes_of(column, words)
    unknown = column.notna().to_numpy() & (codes < 0)
    if unknown.any():
        row = int(unknown.argmax())
        number, value = row if numbers is None else int(numbers[row]), column.iloc[row]
        got = repr(str(value)) if isinstance(value, str) or is_category(kind) else f"{value}"
        raise ValueError(f"row {number}, column {name!r} holds {got}, expected one of {_listed(words)}")
    return pd.Series(pd.Categorical.from_codes(codes.tolist(), list(words)), index=column.index, name=column.name)


def _codes_of(values: pd.Series, words: tuple[str, ...]) -> np.ndarray:
    """The code of each value, which is the place of its name, or of its number, among the words; -1 for others."""
    levels = numbers_in(words)
    if levels is not None and values.dtype.kind in "fiu":
        return pd.Index(levels).get_indexer(pd.Index(values.to_numpy(dtype=np.float64, na_value=np.nan)))
    return pd.Index(words).get_indexer(pd.Index(values.astype(object).map(str, na_action="ignore")))


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words[:8]) + (f", ... ({len(words)})" if len(words) > 8 else "")
