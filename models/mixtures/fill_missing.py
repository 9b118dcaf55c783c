"""Missing values filled in by a mixture: posterior means, and draws (multiple imputation)."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import pandas as pd
import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor

from ...data.input_checks import describe_column
from ...data.open_table import conform
from ...data.schema import Schema
from ..module import on_the_cpu
from ..random_state import fixed_seed
from .imputed import Imputed
from .row_checks import ChecksRows


class FillsMissing(ChecksRows):
    """A mixture whose family has the ability `TakesMissing` (`takes_missing` says whether it does)."""

    def _logits(self, x: Tensor, labels: Tensor | None) -> Float[Tensor, "n k"]:
        raise NotImplementedError

    @on_the_cpu
    @torch.no_grad()
    def impute(self, x: Any) -> Imputed:
        """Each missing value at its posterior mean given the observed values of its row, and how uncertain that is.

        Args:
            x: (n, d) rows with NaN where a value is missing.

        Returns:
            An `Imputed`; `.frame()` is a DataFrame with the names and categories of the fit. Codes of categories are
            filled with the most likely one.

        Raises:
            ValueError: The mean of a column does not exist under the family.
        """
        rows = self._checked_table(x)
        names = self.schema or Schema.plain(rows.shape[1])
        is_frame = isinstance(x, pd.DataFrame)
        table = _with_truth_values(conform(x, self), x) if is_frame else names.frame(rows.numpy())
        return impute_rows(self.family, rows, torch.softmax(self._logits(rows, None), -1), table)

    @on_the_cpu
    @torch.no_grad()
    def draw_missing(self, x: Any, draws: int = 1, seed: int | None = None) -> Float[Tensor, "m n d"]:
        """The table several times, its missing values drawn from their joint distribution given the observed ones.

        These are multiple imputations (Rubin 1987): their quantiles are intervals.

        Args:
            x: (n, d) rows with NaN where a value is missing.
            draws: m, how many tables.
            seed: The same seed gives the same draws. None draws from torch's own random state.

        Returns:
            (m, n, d).
        """
        x = self._checked_table(x)
        if not isinstance(draws, Integral) or draws < 1:
            raise ValueError(f"draws is {draws!r}, expected a whole number of at least 1")
        incomplete = x.isnan().any(1)
        with fixed_seed(seed):
            tables = x.repeat(int(draws), 1, 1)
            if incomplete.any():
                z = dist.Categorical(logits=self._logits(x[incomplete], None)).sample((int(draws),))
                tables[:, incomplete] = _draw(self.family, tables[:, incomplete], z)
        return tables


def impute_rows(
    family: Any, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"], table: pd.DataFrame
) -> Imputed:
    """The missing values of rows by the components' conditional means, mixed by the responsibilities.

    family: one with the ability `TakesMissing`, unless no value is missing; table: the same rows with names.
    """
    if not x.isnan().any():
        return Imputed(x, torch.zeros_like(x), table)
    values, uncertainty = torch.empty_like(x), torch.empty_like(x)
    for start in range(0, len(x), family.block_rows):
        rows = slice(start, start + family.block_rows)
        mean, variance = family.moments_given(x[rows])
        share = responsibilities[rows].unsqueeze(-1)
        values[rows] = torch.where(share > 0, share * mean, 0.0).sum(1)
        spread = variance + (mean - values[rows].unsqueeze(1)).square()  # may be infinite where the share is 0
        uncertainty[rows] = torch.where(share > 0, share * spread, 0.0).sum(1).sqrt()
    for profile in family.profiles():
        if profile.levels is None:
            continue
        probability = responsibilities @ profile.values
        for column in set(profile.columns):
            own = [i for i, j in enumerate(profile.columns) if j == column]
            codes, chance = [float(profile.levels[i]) for i in own], probability[:, own]
            if len(own) == 1:  # of 0 and 1 a profile has the probability of one of them
                codes, chance = [1 - codes[0], codes[0]], torch.cat([1 - chance, chance], -1)
            largest, which = chance.max(-1)
            values[:, column], uncertainty[:, column] = x.new_tensor(codes)[which], 1 - largest
    missing = x.isnan()
    if not values[missing].isfinite().all():
        column = int((missing & ~values.isfinite()).any(0).nonzero()[0])
        raise ValueError(
            f"{describe_column(column, table.columns)} has no mean under {type(family).__name__}, expected one to fill "
            "missing values with: take the median of draw_missing(x, draws)"
        )
    return Imputed(torch.where(missing, values, x), torch.where(missing, uncertainty, 0.0), table)


def _with_truth_values(table: pd.DataFrame, x: pd.DataFrame) -> pd.DataFrame:
    """A table whose categories False and True are the columns of truth values that they were in x."""
    own = dict(zip(map(str, x.columns), (x.iloc[:, j] for j in range(x.shape[1])), strict=True))
    parts = [table.iloc[:, j] for j in range(table.shape[1])]
    return pd.concat([own[part.name] if _was_bool(part, own.get(str(part.name))) else part for part in parts], axis=1)


def _was_bool(column: pd.Series, own: pd.Series | None) -> bool:
    kind: Any = column.dtype
    is_category = isinstance(kind, pd.CategoricalDtype) and list(kind.categories) == ["False", "True"]
    return is_category and own is not None and pd.api.types.is_bool_dtype(own.dtype)


def _draw(family: Any, x: Float[Tensor, "m n d"], z: Tensor) -> Float[Tensor, "m n d"]:
    """Tables with their missing values drawn given the observed ones and z, a block of rows at a time."""
    parts = zip(x.flatten(0, 1).split(family.block_rows), z.flatten().split(family.block_rows), strict=True)
    return torch.cat([family.draw_missing(rows, own) for rows, own in parts]).reshape(x.shape)
