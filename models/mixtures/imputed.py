"""A table with its missing values filled in, and how uncertain each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from ...data.input_checks import is_category


@dataclass(frozen=True)
class Imputed:
    """Missing values filled in from their distribution given the observed values: what `Mixture.impute` returns.

    Args:
        values: (n, d) the posterior mean of each missing value; for categories and 0/1 columns the most likely code.
        uncertainty: (n, d) its posterior standard deviation, in units of the column; for codes the probability of any
            other code; 0 for observed values.
        table: The original rows, with the names and categories of the fit.

    Example:
        >>> import torch
        >>> from lowerbound.models import GaussianMixture
        >>> model = GaussianMixture(components=1, features=2)
        >>> model.family.loc = torch.zeros(1, 2)
        >>> model.family.scale_tril = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])  # correlation 0.6
        >>> filled = model.impute([[1.0, float("nan")]])
        >>> filled.values.round(decimals=6).tolist(), filled.uncertainty.round(decimals=6).tolist()
        ([[1.0, 0.6]], [[0.0, 0.8]])
    """

    values: Float[Tensor, "n d"]
    uncertainty: Float[Tensor, "n d"]
    table: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """The values as a DataFrame with the columns and categories of the fit, and the index of the rows."""
        columns = (self.table.iloc[:, j] for j in range(self.table.shape[1]))
        pairs = zip(columns, self.values.T, strict=True)
        return pd.concat([_filled(column, values.numpy()) for column, values in pairs], axis=1)

    def uncertainty_frame(self) -> pd.DataFrame:
        """The uncertainties as a DataFrame with the same columns and index."""
        return pd.DataFrame(self.uncertainty.numpy(), self.table.index, self.table.columns)


def _filled(column: pd.Series, values: np.ndarray) -> pd.Series:
    """A column with these values, in its own dtype if that can hold them: means of whole numbers are not whole."""
    kind: Any = column.dtype
    if not column.isna().any():
        return column
    if is_category(kind):
        filled: Any = pd.Categorical.from_codes(values.astype(int).tolist(), dtype=kind)
    else:
        filled = pd.array(values, dtype=kind if (values == values.round()).all() else np.dtype(float))
    return pd.Series(filled, column.index, name=column.name)
