"""How wide and high the pictures in a table of pixels are, and which numbers are drawn black and white."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.distributions import constraints

from .latent_models import decode_distribution

PIXEL = re.compile(r"(\d+)_(\d+)$")  # columns named so, and filling a rectangle, are a picture: pixel_0_0, pixel_0_1


def shape_from_names(names: list[str]) -> tuple[int, int] | None:
    """Rows and columns of the picture whose pixels the columns are, row by row; None if they are none."""
    found = [PIXEL.search(name) for name in names]
    if len(names) < 9 or not all(found):
        return None
    at = [(int(match[1]), int(match[2])) for match in found if match]
    down, across = (len({place[axis] for place in at}) for axis in (0, 1))
    return (down, across) if min(down, across) > 2 and sorted(at) == at and len(set(at)) == down * across else None


ValueRange = tuple[float, float]  # the numbers that are white and black


def known_shape(model: Any, columns: Sequence[str] | None = None) -> tuple[int, int] | None:
    """(height, width) of the pictures that rows are: by the names of the columns, those that the model remembers unless
    given, else as its encoder takes them; None where they are no pictures."""
    names = getattr(getattr(model, "schema", None), "columns", ()) if columns is None else columns
    found = shape_from_names(list(names))
    convolved = getattr(getattr(model, "encoder", None), "shape", ())
    if found is None and len(convolved) == 3 and convolved[0] == 1:
        found = (int(convolved[1]), int(convolved[2]))
    return found


def required_shape(model: Any, shape: Sequence[int] | None, features: int) -> tuple[int, int]:
    """(height, width) as given or known. Raises ValueError where neither tells, or it is not of so many columns."""
    found = known_shape(model) if shape is None else tuple(shape)
    if found is None:
        side = math.isqrt(features)
        example = (side, side) if side * side == features else (8, 8)
        raise ValueError(
            f"the columns of this {type(model).__name__} have no names like pixel_0_0, pixel_0_1, ..., expected the "
            f"size of the pictures that its rows are: pass shape=(height, width), such as shape={example}"
        )
    if len(found) != 2 or math.prod(found) != features:
        raise ValueError(
            f"shape is {found}, expected the (height, width) of pictures of {features} pixels, as many as columns"
        )
    return found


def comparison_shape(comparison: Any, models: dict[str, Any]) -> tuple[int, int] | None:
    """That of the rows of a comparison, None if they are no pictures."""
    names = comparison.x.columns
    found = (known_shape(model, names) for model in models.values())
    return next((shape for shape in found if shape is not None and math.prod(shape) == len(names)), None)


def value_range(x: np.ndarray) -> ValueRange:
    """From the smallest to the largest number there is."""
    low, high = float(np.nanmin(x)), float(np.nanmax(x))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def model_value_range(model: Any, means: np.ndarray) -> ValueRange:
    """Without data: from 0 to 1 where the model gives such numbers, else that of what is drawn."""
    support: Any = decode_distribution(model, torch.zeros(1, model.latent)).support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    unit = isinstance(support, (type(constraints.boolean), type(constraints.unit_interval)))
    return (0.0, 1.0) if unit else value_range(means)


def value_range_note(scale: ValueRange) -> str:
    """What the shades say."""
    return f"White is {scale[0]:.3g} or less, black {scale[1]:.3g} or more."
