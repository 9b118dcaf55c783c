"""A VAE whose decoder is chosen by what the columns of a table hold."""

from __future__ import annotations

from collections.abc import Sequence

from ...models import (
    VAE,
    BernoulliDecoder,
    CategoricalDecoder,
    GaussianDecoder,
    MLPEncoder,
    Rows,
)
from .column_kinds import categories_of, require_repeated_words

FLOOR = 0.01  # smallest variance given z, as a share of the mean variance of the columns


def vae_for_columns(rows: Rows, latent: int, hidden: Sequence[int], variance_floor: float | None) -> VAE:
    """A VAE for a table of one type: all columns hold words, or 0 and 1, or other numbers.

    variance_floor: smallest variance of numbers given z; by default a hundredth of the mean variance of the columns.
    Raises ValueError if the types differ.
    """
    require_repeated_words(rows)
    found = rows.column_values
    d, encoder = rows.features, MLPEncoder(rows.features, latent, hidden)
    words = [j for j, each in enumerate(rows.levels) if each is not None]
    if len(words) == d:
        schema, counts = categories_of(rows)
        model = VAE(encoder, CategoricalDecoder(latent, counts, hidden), latent)
        model.schema = schema  # the levels that occur
        return model
    if words:
        raise ValueError(
            f"column {rows.columns[words[0]]!r} holds categories and other columns hold numbers, expected columns of "
            "one type for --model vae: drop some, or use --model mixed"
        )
    if all(values.is_whole and values.high <= 1 and (values.low >= 0 or not values.count) for values in found):
        if variance_floor is not None:
            raise ValueError(f"--variance-floor is {variance_floor!r}, but columns of 0 and 1 have none: leave it out")
        return VAE(encoder, BernoulliDecoder(latent, d, hidden), latent)
    floor = variance_floor
    if floor is None:
        floor = FLOOR * float(rows.spread.variance.mean())
    return VAE(encoder, GaussianDecoder(latent, d, hidden, variance_floor=floor), latent)
