"""What a model remembers of the table it was fitted to: the names of its columns and the words of its categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .input_checks import is_category


@dataclass(frozen=True)
class Schema:
    """columns: (d,) names; levels: (d,) the words of each column of categories by code, None for columns of numbers."""

    columns: tuple[str, ...]
    levels: tuple[tuple[str, ...] | None, ...]

    @classmethod
    def of(cls, x: pd.DataFrame) -> Schema:
        """That of a table."""
        levels = (tuple(map(str, kind.categories)) if is_category(kind) else None for kind in x.dtypes)
        return cls(tuple(map(str, x.columns)), tuple(levels))

    @classmethod
    def plain(cls, features: int) -> Schema:
        """That of so many columns of numbers without names."""
        return cls(tuple(f"column {j}" for j in range(features)), (None,) * features)

    def frame(self, x: np.ndarray) -> pd.DataFrame:
        """Rows (n, d) of numbers and codes, NaN where missing, as a table with these names and words."""
        parts = [
            pd.Series(values if words is None else pd.Categorical.from_codes(_codes(values), list(words)))
            for values, words in zip(x.T, self.levels, strict=True)
        ]
        return pd.concat(parts, axis=1).set_axis(list(self.columns), axis=1)

    def conform(self, x: pd.DataFrame, numbers: Any = None) -> pd.DataFrame:
        """`x` with its columns in this order and its words by these codes. numbers: of its rows, for errors.

        Raises ValueError for other columns, for words that were not there, and for words in place of numbers.
        """
        new = Schema.of(x)
        if new == self:
            return x
        if sorted(new.columns) != sorted(self.columns):
            if set(new.columns).isdisjoint(self.columns) and len(new.columns) == len(self.columns):
                return x  # another naming altogether, such as 0, 1, 2: nothing to go by
            raise ValueError(f"got columns {_some(new.columns)}, expected those of the fit, {_some(self.columns)}")
        if len(set(self.columns)) == len(self.columns):
            x = x.iloc[:, [new.columns.index(name) for name in self.columns]]
        parts = [_recoded(x.iloc[:, j], name, self.levels[j], numbers) for j, name in enumerate(self.columns)]
        return pd.concat(parts, axis=1)


def _codes(values: np.ndarray) -> list[int]:
    return np.nan_to_num(values, nan=-1).astype(int).tolist()


def _recoded(column: pd.Series, name: str, words: tuple[str, ...] | None, numbers: Any) -> pd.Series:
    if column.dtype.kind in "fiub" and not is_category(column.dtype):
        return column  # codes, where there are words
    if words is None:
        raise ValueError(f"column {name!r} holds {column.dtype} values, expected numbers as in the table of the fit")
    text = column.astype(object).map(str, na_action="ignore")
    strange = text.notna() & ~text.isin(words)
    if strange.any():
        row = int(strange.to_numpy().argmax())
        number = row if numbers is None else int(numbers[row])
        raise ValueError(f"row {number}, column {name!r} holds {text.iloc[row]!r}, expected one of {_some(words)}")
    return pd.Series(pd.Categorical(text, categories=list(words)), index=column.index, name=column.name)


def _some(words: tuple[str, ...]) -> str:
    return ", ".join(words[:8]) + (f", ... ({len(words)})" if len(words) > 8 else "")
