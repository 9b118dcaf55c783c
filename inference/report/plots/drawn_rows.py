"""A sample of the rows for a figure."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ....data.chunk import Chunk
from ....models import Rows
from ....models.random_state import fixed_seed

DRAWN_ROWS = 2000


def rows_to_draw(rows: Rows) -> Chunk:
    """Rows of positive weight in random order with their labels, at most 2000, the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    with fixed_seed(0):  # of a table that draws its rows
        chunk = rows.sample(generator, DRAWN_ROWS)
    order = torch.randperm(len(chunk.x), generator=generator)
    if chunk.weights is not None:
        order = order[chunk.weights[order] > 0]
    return Chunk(chunk.x[order], None, None if chunk.labels is None else chunk.labels[order])


def to_numpy(x: Tensor) -> np.ndarray:
    """Numbers to draw, from whatever precision and device."""
    return x.detach().cpu().double().numpy()
