"""The rows that a figure draws, and tensors as arrays to draw."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ....data.chunk import Chunk
from ....models import Rows
from ....models.random_state import fixed_seed

DRAWN_ROWS = 2000


def rows_to_draw(rows: Rows) -> Chunk:
    """At most 2000 rows of positive weight with their labels, in random order, the same in each call."""
    generator = torch.Generator().manual_seed(0)
    with fixed_seed(0):  # some tables draw their rows at random
        chunk = rows.sample(generator, DRAWN_ROWS)
    order = torch.randperm(len(chunk.x), generator=generator)
    if chunk.weights is not None:
        order = order[chunk.weights[order] > 0]
    return Chunk(chunk.x[order], None, None if chunk.labels is None else chunk.labels[order])


def to_numpy(x: Tensor) -> np.ndarray:
    """A tensor of any precision and device as a float64 array."""
    return x.detach().cpu().double().numpy()
