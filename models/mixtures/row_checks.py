"""Rows, weights and labels that a mixture is given: checked, by name if it remembers a table, on its device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...data.input_checks import as_labels, as_tensor, as_weights, describe_first_value
from ...data.moments import Moments
from ...data.open_table import conform
from ...data.rows import Rows, as_rows
from ...data.schema import Schema
from ..contract import Statistics
from ..families.family import Family
from ..module import Recorded, device_of

Made = TypeVar("Made", bound=Statistics)


class ChecksRows(Recorded):
    """A model of rows of one family: what its methods do first with x, weights and labels."""

    family: Family
    schema: Schema | None = None  # of the table it was fitted to, so that new rows are read in the same way

    @property
    def takes_missing(self) -> bool:
        """Whether rows may have NaN, for cells that were not seen."""
        return self.family.takes_missing

    @property
    def _kind(self) -> Family:
        """A family that knows what rows may hold, whatever its parameters."""
        return self.family

    def _require_parameters(self) -> None:
        if not self.family.is_set:
            raise ValueError(
                "the parameters of this mixture are not set: fit it, seed(model, x) it, or assign weights and the "
                "family's parameters"
            )

    def _table(self, x: Any) -> Float[Tensor, "n d"]:
        """x as a tensor of numbers that the family can give."""
        x = conform(x, self)
        tensor = as_tensor(x, self._kind.features, missing=self.takes_missing).to(device_of(self))
        self._allow(tensor, list(x.columns) if isinstance(x, pd.DataFrame) else None)
        return tensor

    def _allow(
        self, x: Float[Tensor, "n d"], columns: Sequence[Any] | None, numbers: Tensor | range | None = None
    ) -> None:
        """Raise ValueError if the family cannot give a cell; numbers: of the rows."""
        refused = self._kind.unsupported(x)
        if refused is not None and refused.any():
            raise ValueError(f"{describe_first_value(refused, x, columns, numbers)}, expected {self._kind.expects}")

    def _known(self, labels: Any, n: int) -> Int[Tensor, " n"] | None:
        labels = as_labels(labels, n)
        k = self._kind.components
        if labels is not None and not ((labels >= -1) & (labels < k)).all():
            bad = int(((labels < -1) | (labels >= k)).nonzero()[0])
            raise ValueError(
                f"label {bad} is {int(labels[bad])}, expected 0 .. {k - 1} for a component or -1 for unknown"
            )
        return None if labels is None else labels.to(device_of(self))

    def _summed(self, x: Any, weights: Any, labels: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Checked arguments of `expect`, without rows of weight zero: they may be impossible, and must not matter."""
        self._require_parameters()
        # a cell that is not finite shows in the bound
        x = as_tensor(conform(x, self), self._kind.features, finite=False).to(device_of(self))
        weights, labels = as_weights(weights, len(x), some=False), self._known(labels, len(x))
        if weights is not None:
            weights = weights.to(x.device)
            kept = weights > 0
            x, weights, labels = x[kept], weights[kept], None if labels is None else labels[kept]
        return x, weights, labels

    def _possible(self, x: Any, statistics: Made) -> Made:
        """The same statistics. Raises ArithmeticError if a row has probability zero under every component."""
        if not torch.isfinite(statistics.bound):
            self._table(x)  # raises if there is a cell that is not finite, or impossible
            raise ArithmeticError(
                "some rows have probability zero under every component: the parameters do not fit these data; "
                "start from other parameters"
            )
        return statistics

    def _intake(self, x: Any, weights: Any, labels: Any, rows: float | None) -> tuple:
        """Checked arguments of the pair, and the scale of each row's terms. Rows of weight zero are left out."""
        self._require_parameters()
        x = self._table(x)
        weights, labels = as_weights(weights, len(x)), self._known(labels, len(x))
        factor = 1.0 if rows is None else rows / len(x)
        if weights is None:
            return x, weights, labels, factor
        weights = weights.to(x.device)
        kept = weights > 0
        x, weights = x[kept], weights[kept]
        return x, weights, None if labels is None else labels[kept], weights * factor

    def _looked_at(self, x: Any, weights: Any) -> tuple[Rows, Moments]:
        """The rows of a fit, and their moments: checked, and their names learnt."""
        rows = as_rows(x, weights) if isinstance(x, Rows) else Rows(x, weights, missing=self.takes_missing)
        k, d = self._kind.components, self._kind.features
        if rows.features != d:
            raise ValueError(f"got {rows.features} columns, expected {d}: the model was made for {d} features")
        self.schema = rows.schema or self.schema
        self._known(rows.labels, len(rows))
        if len(rows) < k:
            raise ValueError(f"got {len(rows)} rows, expected at least one for each of {k} components")
        moments = rows.moments  # before all else: it reads all rows in order, and so can say which cell is not a number
        for chunk in rows.chunks():
            self._allow(chunk.x, rows.columns, chunk.row_numbers)
        return rows, moments
