"""What a model with a continuous latent variable does with a table before it reads it: checks, names, precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ...data.input_checks import as_tensor, as_weights, counted, describe_first_value
from ...data.open_table import conform
from ...data.rows import Rows, as_rows
from ...data.schema import Schema
from ...data.traced_rows import plain_rows
from ..module import Recorded
from ..precision import RefusesHalf


class ChecksTables(RefusesHalf, Recorded):
    """A Pyro module with a number of columns, which checks the tables that it is given."""

    features: int
    schema: Schema | None = None

    @property
    def numeric_columns(self) -> Sequence[int]:
        """The columns that hold numbers, where categories are refused: none, if the model does not say."""
        return ()

    def _learn_table(self, x: Any, weights: Any) -> Rows:
        """Open the table, check its columns and remember their names."""
        rows = as_rows(x, weights, model=self)
        self._refuse_labels(rows.labels)
        self._require_columns(rows)
        self.schema = rows.schema or self.schema
        return rows

    def checked(self, x: Any, labels: Any = None) -> Float[Tensor, "n d"]:
        """x as a tensor (n, d) in the precision and on the device of the model.

        Call it first in your own `objective` or `evidence`.

        Args:
            x: Rows, as tensor, array or DataFrame. The columns of a DataFrame are matched by name.
            labels: None: a continuous z has no labels.

        Raises:
            ValueError: x has another shape or a value that the model cannot give or is too large for its precision, or
                labels are given.
        """
        self._refuse_labels(labels)
        x = conform(x, self)
        own = next(self.parameters(), torch.zeros(()))
        columns = list(x.columns) if isinstance(x, pd.DataFrame) else None
        given = as_tensor(x, self.features)
        self._require_in_range(given, columns, own.dtype)
        tensor = given.to(own.device, own.dtype)
        self._require_supported(tensor, columns)
        return tensor

    def _largest(self, dtype: torch.dtype) -> float:
        """The largest value that the model takes in this precision."""
        return torch.finfo(dtype).max

    def _require_in_range(
        self, x: Float[Tensor, "n d"], columns: Sequence[Any] | None, dtype: torch.dtype, most: float | None = None
    ) -> None:
        """Raise ValueError for a value beyond `most`, by default the largest that the model takes in this precision."""
        x, most = plain_rows(x), self._largest(dtype) if most is None else most
        far = x.abs() > most
        if far.any():
            cure = "" if dtype == torch.float64 else ", or make the model double by model.double()"
            raise ValueError(
                f"{describe_first_value(far, x, columns)}, so far from the data that its density overflows in {dtype}, "
                f"expected no value beyond {most:.1g}: leave the row out{cure}"
            )

    def _require_supported(
        self, x: Float[Tensor, "n d"], columns: Sequence[Any] | None, numbers: Tensor | range | None = None
    ) -> None:
        """Raise ValueError if x has values that the model cannot give.

        columns: names for the message; numbers: the row numbers of x in the table.
        """

    def _require_columns(self, rows: Rows) -> None:
        if rows.features != self.features:
            raise ValueError(
                f"got {counted(rows.features, 'column')}, expected {self.features}: the model was made for "
                f"{self.features} features"
            )

    def _refuse_labels(self, labels: Any) -> None:
        if labels is not None:
            raise ValueError(
                f"got labels, but the latent variable of {type(self).__name__} is continuous: leave them out, or "
                "fit a Mixture"
            )

    def _pair_arguments(self, x: Any, weights: Any, labels: Any, rows: float | None) -> tuple[Tensor, Any]:
        """Checked rows of positive weight, and the factor of each one's terms."""
        x = self.checked(x, labels)
        weights = as_weights(weights, len(x))
        factor = 1.0 if rows is None else rows / len(x)
        if weights is None:
            return x, factor
        kept = weights > 0
        return x[kept.to(x.device)], (weights[kept] * factor).to(x)
