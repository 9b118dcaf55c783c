"""Rows of which some cells are missing (NaN): what families, mixtures and starts do with them.

A missing cell is marginalised: of a row counts log p(seen cells | z). The sums of the M-step have the expected T(x) of
the row given its seen cells, so that EM raises the likelihood of what was seen (Dempster, Laird & Rubin 1977): maximum
likelihood where cells are missing at random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import transform_to

from .intake import is_category

if TYPE_CHECKING:
    from .family import Family, Summarize


def look(family: Family, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Summarize]:
    """Of rows with or without missing cells, at the parameters as they stand: log p(seen cells | z = k) in nats,
    differentiable, and a function from responsibilities (n, k) to sums of E[T(x) | seen cells, z] (k, s)."""
    gone = x.isnan().any(1)
    if not gone.any():
        return family.log_prob(x), lambda r: family.summarize(x, r)
    torn, sums = family.visit_missing(x[gone])
    if gone.all():
        return torn, sums
    whole = ~gone
    order = torch.cat([whole.nonzero(), gone.nonzero()]).squeeze(1).argsort()
    log_prob = torch.cat([family.log_prob(x[whole]), torn])[order]
    return log_prob, lambda r: sums(r[gone]) + family.summarize(x[whole], r[whole])


def log_density(family: Family, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """The first half of `look`, some rows at a time, as all of them together might take much memory."""
    if not x.isnan().any():
        return family.log_prob(x)
    return torch.cat([look(family, part)[0] for part in x.split(family.block_rows)])


def seen_log_prob(component: Any, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """log p(seen cells | z = k) under independent columns, `Distribution.to_event(1)` of batch shape (k, d)."""
    cell = component.base_dist
    gone = x.isnan()
    # a legal value in place of what is missing: NaN would spoil the gradient of the cells beside it
    inside = (
        getattr(cell.support, "lower_bound", 0.0)
        if cell.support.is_discrete
        else transform_to(cell.support)(x.new_zeros(()))
    )
    log_prob = cell.log_prob(torch.where(gone.unsqueeze(-2), inside, x.unsqueeze(-2)))
    return torch.where(gone.unsqueeze(-2), 0.0, log_prob).sum(-1)


def donated(
    x: Float[Tensor, "n d"],
    cluster: Int[Tensor, " n"],
    mass: Float[Tensor, " n"],
    generator: torch.Generator,
) -> Float[Tensor, "n d"]:
    """Each missing cell filled with one that is seen in its column, drawn by `mass` from the rows of the same cluster,
    or where none has it from all: values that every family can take, as varied as the data.

    Raises ValueError for a column without any value.
    """
    filled = x.clone()
    for column in x.isnan().any(0).nonzero().squeeze(1).tolist():
        gone = x[:, column].isnan()
        everywhere = torch.where(gone, 0.0, mass)
        if not (everywhere > 0).any():
            raise ValueError(
                f"column {column} has no value in any of the rows that the start looks at, expected some: drop it"
            )
        for j in cluster[gone].unique().tolist():
            mine = gone & (cluster == j)
            near = torch.where(cluster == j, everywhere, 0.0)
            share = near if (near > 0).any() else everywhere
            drawn = torch.multinomial(share, int(mine.sum()), replacement=True, generator=generator)
            filled[mine, column] = x[drawn, column]
    return filled


class Seen(TorchDistribution):
    """p(seen cells of a row | z), of rows with NaN where a cell is missing: what `component(z)` is to whole ones."""

    arg_constraints = {}  # type: ignore[reportIncompatibleMethodOverride,reportAssignmentType]  # noqa: RUF012

    def __init__(self, family: Family, z: Tensor):
        self.family, self.z = family, z
        super().__init__(z.shape, torch.Size([family.features]), validate_args=False)

    @property
    def support(self) -> Any:  # type: ignore[override]
        """That of whole rows, which says what kind of numbers the columns hold."""
        component: Any = self.family.component(self.z)
        return component.support

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of the seen cells of rows (n, d) under z (..., n), or (..., 1)."""
        log_prob = log_density(self.family, value)  # (n, k)
        z = self.z.expand(torch.broadcast_shapes(self.z.shape, value.shape[:1]))
        return log_prob.expand(*z.shape, -1).gather(-1, z.unsqueeze(-1)).squeeze(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 (torch's signature)
        """Whole rows."""
        drawn: Any = self.family.component(self.z)
        return drawn.sample(sample_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Seen:
        """The same for more z."""
        return Seen(self.family, self.z.expand(batch_shape))


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
