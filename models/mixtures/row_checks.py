"""Checks of the rows, weights and labels that the methods of a mixture get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...data.input_checks import as_labels, as_tensor, as_weights, counted, describe_first_value
from ...data.moments import Moments
from ...data.open_table import conform
from ...data.rows import Rows, as_rows
from ...data.schema import Schema
from ...data.traced_rows import plain_rows
from ..contract import Statistics
from ..families.family import Family
from ..module import Recorded, device_of
from ..precision import KeepsFloat64

Made = TypeVar("Made", bound=Statistics)


class ChecksRows(KeepsFloat64, Recorded):
    """A mixture that checks x, weights and labels, and moves them to its device.

    Once it is fitted to a table with names, it matches the columns of a DataFrame by name.
    """

    family: Family
    weight_of_fit: float | None = None  # how many rows the fit has that is under way
    schema: Schema | None = None  # of the table it was fitted to, for the names and categories of new rows

    @property
    def takes_missing(self) -> bool:
        """Whether rows may have missing values, as NaN."""
        return self.family.takes_missing

    @property
    def _allows_empty(self) -> bool:
        """Whether there may be more components than rows."""
        return False

    @property
    def numeric_columns(self) -> Sequence[int]:
        """The columns that hold numbers, where categories are refused."""
        return self._row_family.numeric_columns

    @property
    def _row_family(self) -> Family:
        """The family that says which values a row may have. Its parameters do not matter."""
        return self.family

    def _require_parameters(self) -> None:
        if not self.family.is_set:
            raise ValueError(
                "the parameters of this mixture are not set: fit it, seed(model, x) it, or assign weights and the "
                "family's parameters"
            )

    def _checked_table(self, x: Any) -> Float[Tensor, "n d"]:
        """x as a tensor on the model's device. Raises ValueError for values that the family does not support."""
        x = conform(x, self)
        tensor = as_tensor(x, self._row_family.features, missing=self.takes_missing).to(device_of(self))
        self._require_supported(tensor, list(x.columns) if isinstance(x, pd.DataFrame) else None)
        return tensor

    def _require_supported(
        self, x: Float[Tensor, "n d"], columns: Sequence[Any] | None, numbers: Tensor | range | None = None
    ) -> None:
        """Raise ValueError for a value that the family does not support.

        columns: names for the message; numbers: the row numbers of x in the table.
        """
        x = plain_rows(x)
        unsupported = self._row_family.unsupported(x)
        if unsupported is not None and unsupported.any():
            raise ValueError(
                f"{describe_first_value(unsupported, x, columns, numbers)}, expected {self._row_family.expects}"
            )

    def _checked_labels(self, labels: Any, n: int) -> Int[Tensor, " n"] | None:
        """Labels on the model's device. Raises ValueError unless they are (n,) numbers of components or -1."""
        labels = as_labels(labels, n)
        if labels is None:
            return None
        k = self._row_family.components
        if not ((labels >= -1) & (labels < k)).all():
            bad = int(((labels < -1) | (labels >= k)).nonzero()[0])
            raise ValueError(
                f"label of row {bad} is {int(labels[bad])}, expected 0 .. {k - 1} for a component or -1 for unknown"
            )
        return labels.to(device_of(self))

    def _rows_to_sum(self, x: Any, weights: Any, labels: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Checked arguments of `expect`, without rows of weight zero: these may have probability zero."""
        self._require_parameters()
        # values that are not finite make the bound not finite, and are reported by `_require_possible`
        x = x if isinstance(x, Tensor) else conform(x, self)  # a tensor has no names to match
        x = as_tensor(x, self._row_family.features, finite=False).to(device_of(self))
        weights, labels = as_weights(weights, len(x), some=False), self._checked_labels(labels, len(x))
        if weights is not None:
            weights = weights.to(x.device)
            kept = weights > 0
            x, weights, labels = x[kept], weights[kept], None if labels is None else labels[kept]
        return x, weights, labels

    def _require_possible(self, x: Any, statistics: Made) -> Made:
        """The same statistics. Raises ArithmeticError if a row has probability zero under every component.

        Raises ValueError if x has a value that is not finite, or that the family does not support.
        """
        if not torch.isfinite(statistics.bound):
            self._checked_table(x)
            raise ArithmeticError(
                "some rows have probability zero under every component: the parameters do not fit these data; "
                "start from other parameters"
            )
        return statistics

    def _pair_arguments(self, x: Any, weights: Any, labels: Any, rows: float | None) -> tuple:
        """Checked arguments of `model` and `guide` without rows of weight zero, and the scale of each row's terms."""
        self._require_parameters()
        x = self._checked_table(x)
        weights, labels = as_weights(weights, len(x)), self._checked_labels(labels, len(x))
        factor = 1.0 if rows is None else rows / len(x)
        if weights is None:
            return x, weights, labels, factor
        weights = weights.to(x.device)
        kept = weights > 0
        x, weights = x[kept], weights[kept]
        return x, weights, None if labels is None else labels[kept], weights * factor

    def _rows_to_fit(self, x: Any, weights: Any) -> tuple[Rows, Moments]:
        """The table of a fit, checked, and its moments. The names of its columns and categories are remembered."""
        rows = as_rows(x, weights, model=self)
        k, d = self._row_family.components, self._row_family.features
        if rows.features != d:
            raise ValueError(
                f"got {counted(rows.features, 'column')}, expected {d}: the model was made for {d} features"
            )
        self.schema = rows.schema or self.schema
        self.weight_of_fit = rows.counted_rows
        self._checked_labels(rows.labels, len(rows))
        if len(rows) < k and not self._allows_empty:
            raise ValueError(f"got {counted(len(rows), 'row')}, expected at least one for each of {k} components")
        moments = rows.moments  # first, because it reads all rows in order and says which value is not a number
        for chunk in rows.chunks():
            self._require_supported(chunk.x, rows.columns, chunk.row_numbers)
        return rows, moments
