"""Missing values filled in: posterior means and draws given the observed values of a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...data.input_checks import is_category
from ..families.family import Family


@dataclass(frozen=True)
class Imputed:
    """A table with its missing cells filled in, from their distribution given the cells that are seen.

    values (n, d): the posterior mean of a missing cell; of a category or a yes-or-no column the likeliest code.
    uncertainty (n, d): its posterior standard deviation, in units of the column; of codes, the probability that it is
    another one; 0 where the cell is seen. table: the rows as they came, with the names and words of the fit.
    """

    values: Float[Tensor, "n d"]
    uncertainty: Float[Tensor, "n d"]
    table: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """The values as a table in the order of the fit: with its names and words, and the index of the rows."""
        columns = (self.table.iloc[:, j] for j in range(self.table.shape[1]))
        return pd.concat([_filled(seen, x.numpy()) for seen, x in zip(columns, self.values.T, strict=True)], axis=1)

    def uncertainty_frame(self) -> pd.DataFrame:
        """The uncertainties as a table in the same order."""
        return pd.DataFrame(self.uncertainty.numpy(), self.table.index, self.table.columns)


def _filled(seen: pd.Series, values: np.ndarray) -> pd.Series:
    """A column with its values, in its own kind if that can hold them: means of whole numbers are not whole."""
    kind: Any = seen.dtype
    if not seen.isna().any():
        return seen
    if is_category(kind):
        filled: Any = pd.Categorical.from_codes(values.astype(int).tolist(), dtype=kind)
    else:
        filled = pd.array(values, dtype=kind if (values == values.round()).all() else np.dtype(float))
    return pd.Series(filled, seen.index, name=seen.name)


def imputed(
    family: Family, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"], table: pd.DataFrame
) -> Imputed:
    """The missing cells of rows from what each member says of them given the seen ones; table: the same rows."""
    values, uncertainty = torch.empty_like(x), torch.empty_like(x)
    for start in range(0, len(x), family.block_rows):
        rows = slice(start, start + family.block_rows)
        mean, variance = family.moments_given(x[rows])
        share = responsibilities[rows].unsqueeze(-1)
        values[rows] = torch.where(share > 0, share * mean, 0.0).sum(1)
        spread = variance + (mean - values[rows].unsqueeze(1)).square()  # of one without a share it may be infinite
        uncertainty[rows] = torch.where(share > 0, share * spread, 0.0).sum(1).sqrt()
    for profile in family.profiles():
        if profile.levels is None:
            continue
        probability = responsibilities @ profile.values
        for column in set(profile.columns):
            own = [i for i, j in enumerate(profile.columns) if j == column]
            codes, chance = [float(profile.levels[i]) for i in own], probability[:, own]
            if len(own) == 1:  # of 0 and 1, where only the probability of one is told
                codes, chance = [1 - codes[0], codes[0]], torch.cat([1 - chance, chance], -1)
            largest, which = chance.max(-1)
            values[:, column], uncertainty[:, column] = x.new_tensor(codes)[which], 1 - largest
    gone = x.isnan()
    if not values[gone].isfinite().all():
        column = int((gone & ~values.isfinite()).any(0).nonzero()[0])
        raise ValueError(
            f"column {column} has no mean under {type(family).__name__}, expected one to fill cells with: take the "
            "median of draw_missing(x, draws)"
        )
    return Imputed(torch.where(gone, values, x), torch.where(gone, uncertainty, 0.0), table)


def drawn_missing(family: Family, x: Float[Tensor, "m n d"], z: Int[Tensor, "m n"]) -> Float[Tensor, "m n d"]:
    """Tables x with their missing cells drawn given the seen ones and z, as many rows at a time as take little
    memory."""
    parts = zip(x.flatten(0, 1).split(family.block_rows), z.flatten().split(family.block_rows), strict=True)
    return torch.cat([family.draw_missing(rows, own) for rows, own in parts]).reshape(x.shape)
