"""Tables of pixels: the height and width of their pictures, and the numbers that are drawn white and black."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.distributions import constraints

from ....models import VAE
from ....models.abilities import HasContinuousLatent, HasPictureShape, RemembersTable
from ...criticism.comparison import Comparison
from .latent_models import decode_distribution

PIXEL = re.compile(r"(\d+)_(\d+)$")  # columns such as pixel_0_0, pixel_0_1, ... that fill a rectangle are a picture
ValueRange = tuple[float, float]  # the numbers that are drawn white and black


def shape_from_names(names: list[str]) -> tuple[int, int] | None:
    """(height, width) of the picture whose pixels the columns are, row by row; None if the names are not of pixels."""
    found = [PIXEL.search(name) for name in names]
    if len(names) < 9 or not all(found):
        return None
    at = [(int(match[1]), int(match[2])) for match in found if match]
    down, across = (len({pixel[axis] for pixel in at}) for axis in (0, 1))
    return (down, across) if min(down, across) > 2 and sorted(at) == at and len(set(at)) == down * across else None


def known_shape(model: Any, columns: Sequence[str] | None = None) -> tuple[int, int] | None:
    """(height, width) of the rows as pictures; None if they are no pictures.

    The names of the columns tell, by default those of the table that the model was fitted to; else the encoder of a
    VAE.
    """
    if columns is None:
        columns = model.schema.columns if isinstance(model, RemembersTable) and model.schema else ()
    found = shape_from_names(list(columns))
    if found is None and isinstance(model, VAE) and isinstance(model.encoder, HasPictureShape):
        channels, height, width = model.encoder.shape
        found = (int(height), int(width)) if channels == 1 else None
    return found


def required_shape(model: Any, shape: Sequence[int] | None, features: int) -> tuple[int, int]:
    """(height, width) as given, else as known. Raises ValueError if unknown or not of this number of pixels."""
    found = known_shape(model) if shape is None else tuple(shape)
    if found is None:
        side = math.isqrt(features)
        example = (side, side) if side * side == features else (8, 8)
        raise ValueError(
            f"the columns of this {type(model).__name__} have no names like pixel_0_0, pixel_0_1, ..., which tell the "
            f"size of a picture: pass shape=(height, width), such as shape={example}"
        )
    if len(found) != 2 or math.prod(found) != features:
        raise ValueError(
            f"shape is {found}, expected the (height, width) of pictures of {features} pixels, one for each column"
        )
    return found


def comparison_shape(comparison: Comparison, models: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) of the rows of a comparison as pictures; None if they are no pictures."""
    names = comparison.x.columns
    found = (known_shape(model, names) for model in models.values())
    return next((shape for shape in found if shape is not None and math.prod(shape) == len(names)), None)


def value_range(x: np.ndarray) -> ValueRange:
    """The smallest and the largest number of x."""
    low, high = float(np.nanmin(x)), float(np.nanmax(x))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def model_value_range(model: HasContinuousLatent, means: np.ndarray) -> ValueRange:
    """The range without data: 0 and 1 if p(x | z) has that support, else the range of the means that are drawn."""
    support: Any = decode_distribution(model, torch.zeros(1, model.latent)).support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    unit = isinstance(support, (type(constraints.boolean), type(constraints.unit_interval)))
    return (0.0, 1.0) if unit else value_range(means)


def value_range_note(scale: ValueRange) -> str:
    """The sentence on what the shades mean."""
    return f"White is {scale[0]:.3g} or less, black {scale[1]:.3g} or more."
