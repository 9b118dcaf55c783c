"""What the columns of a table hold: categories, yes or no, counts, or measurements; and a family for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...models import (
    VAE,
    Bernoulli,
    BernoulliDecoder,
    Categorical,
    CategoricalDecoder,
    Family,
    Gaussian,
    GaussianDecoder,
    Mixture,
    MLPEncoder,
    Poisson,
    Product,
    Rows,
)

MOST_LEVELS = 1000  # a column of more codes is something else, and its probabilities would fill the memory
FLOOR = 0.01  # of the mean variance of a column: the least variance of a cell given z
MOST_WORDS = 20  # categories that a column may have even if it has few rows


def coded(table: Any) -> Any:
    """A table whose columns of whole numbers that leave out a code, such as answers from 1 to 5, are categories: only
    numbers that are there are levels."""
    if not isinstance(table, pd.DataFrame):
        return table
    gaps = [
        name
        for name in table
        if pd.api.types.is_numeric_dtype(table[name])
        and (found := np.unique(table[name].dropna().to_numpy(dtype=np.float64))).size
        and (found == found.round()).all()
        and found.size < found.max() + 1 <= MOST_LEVELS
        and found.min() >= 0
    ]
    whole = {name: table[name].astype("Int64").astype("category") for name in gaps}
    return table.assign(**{str(name): column for name, column in whole.items()}) if whole else table


def levels(rows: Rows) -> list[int]:
    """How many categories each column has: those of its names, or its largest code and one for code 0.

    Raises ValueError, naming the column, for one that holds no codes, or more than 1000.
    """
    named = [None if words is None else len(words) for words in rows.levels]
    whole, largest = _scan(rows)
    for j, name in enumerate(rows.columns):
        if named[j] is None and not whole[j]:
            raise ValueError(
                f"column {name!r} holds other numbers than 0, 1, 2, ..., expected the codes of categories: "
                "--model mixed takes measurements, too"
            )
        if (named[j] or largest[j] + 1) > MOST_LEVELS:
            raise ValueError(
                f"column {name!r} holds numbers up to {largest[j]:g}, expected the codes of {MOST_LEVELS} categories "
                "at most: --model mixed takes it for counts"
            )
    _require_groups(rows)
    return [int(largest[j]) + 1 if words is None else words for j, words in enumerate(named)]


def mixed(rows: Rows, components: int, covariance: str, prior: Any) -> Mixture:
    """A mixture for a table of mixed types: columns of words are Categorical, of 0 and 1 Bernoulli, of other whole
    numbers Poisson, and all others together Gaussian."""
    _require_groups(rows)
    whole, largest = _scan(rows)
    kinds = [
        "categorical" if words is not None else "gaussian" if not whole[j] else "poisson" if largest[j] > 1 else "yes"
        for j, words in enumerate(rows.levels)
    ]
    groups = {kind: [j for j, each in enumerate(kinds) if each == kind] for kind in dict.fromkeys(kinds)}
    families = [_family(kind, rows, group, components, covariance, prior) for kind, group in groups.items()]
    if len(families) == 1:
        return Mixture(families[0])
    return Mixture(Product(*families, columns=list(groups.values())))


def autoencoder(rows: Rows, latent: int, hidden: Sequence[int], variance_floor: float | None) -> VAE:
    """A VAE for a table of one type: columns of words, of 0 and 1, or of numbers, whose variance given z stays above
    `variance_floor`, by default a hundredth of the mean variance of a column."""
    _require_groups(rows)
    d, encoder = rows.features, MLPEncoder(rows.features, latent, hidden)
    words = [j for j, each in enumerate(rows.levels) if each is not None]
    if len(words) == d:
        return VAE(encoder, CategoricalDecoder(latent, levels(rows), hidden), latent)
    if words:
        raise ValueError(
            f"column {rows.columns[words[0]]!r} holds categories and others numbers, expected columns of one type for "
            "--model vae: drop some, or take --model mixed"
        )
    whole, largest = _scan(rows)
    if all(whole) and max(largest) <= 1:
        if variance_floor is not None:
            raise ValueError(f"--variance-floor is {variance_floor!r}, but columns of 0 and 1 have none: leave it out")
        return VAE(encoder, BernoulliDecoder(latent, d, hidden), latent)
    floor = variance_floor
    if floor is None:
        floor = FLOOR * float(rows.spread.variance.mean())
    return VAE(encoder, GaussianDecoder(latent, d, hidden, variance_floor=floor), latent)


def _family(kind: str, rows: Rows, group: list[int], components: int, covariance: str, prior: Any) -> Family:
    if kind == "categorical":
        return Categorical(components, [len(rows.levels[j] or ()) for j in group], prior)
    if kind == "gaussian":
        return Gaussian(components, len(group), covariance, prior)
    return {"poisson": Poisson, "yes": Bernoulli}[kind](components, len(group), prior)


def _scan(rows: Rows) -> tuple[list[bool], list[float]]:
    """For each column, whether it holds only 0, 1, 2, ..., and its largest number."""

    def scan() -> Tensor:
        """(2, d): 0 where all are such numbers, else 1; the largest number, at least 0."""
        found = torch.zeros(2, rows.features, dtype=torch.float64)
        for chunk in rows.chunks():
            x = torch.where(chunk.x.isnan(), 0.0, chunk.x)  # a missing cell is of any kind
            odd = (x < 0) | (x != x.floor())
            found = torch.maximum(found, torch.stack([odd.any(0).double(), x.amax(0).double()]))
        return found

    odd, largest = rows.reduced(scan, torch.maximum)
    return (odd == 0).tolist(), largest.tolist()


def _require_groups(rows: Rows) -> None:
    """Raise ValueError for a column whose words are hardly ever the same, such as names."""
    for name, words in zip(rows.columns, rows.levels, strict=True):
        if words is not None and len(words) > max(MOST_WORDS, len(rows) / 2):
            raise ValueError(
                f"column {name!r} holds {len(words)} different words in {len(rows)} rows, expected categories that "
                "many rows share: drop the column, or, if it should be numbers, mend the cells that are none"
            )
