"""A digest by which processes find out, without reading much, that they have different tables."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import torch
from pandas.util import hash_pandas_object
from torch import Tensor

from .rows import Rows

ALL_CELLS = 1 << 22  # a table in memory of at most so many values is read whole
SPACED_ROWS = 1 << 12  # rows, evenly spaced, of a larger one
EDGE_ROWS = 1 << 8  # rows at the beginning and at the end of a file


def table_digest(rows: Rows) -> str:
    """A hash of columns, weights and labels, and of the rows: of all in a small table, of some in a large one.

    The rows of a Dataset, which may draw them, are left out.
    """
    digest = hashlib.blake2b(repr(rows.schema).encode(errors="surrogatepass"), digest_size=16)
    for part in (rows.weights, rows.labels):
        digest.update(b"none" if part is None else part.numpy().tobytes())
    table, n = rows._table, len(rows)
    if rows.is_fixed and table.in_memory and n * rows.features <= ALL_CELLS:
        _update(digest, table.read(slice(0, n)))
    elif rows.is_fixed and table.is_random_access:
        _update(digest, table.read(torch.arange(0, n, max(1, n // SPACED_ROWS))))
        _update(digest, table.read(slice(n - 1, n)))
    elif rows.is_fixed:
        for part in (slice(0, min(n, EDGE_ROWS)), slice(max(0, n - EDGE_ROWS), n)):
            _update(digest, table.read(part))
    return digest.hexdigest()


def _update(digest: Any, part: Any) -> None:
    """Add rows, as a table gives them, to a hash."""
    if isinstance(part, pd.DataFrame):
        try:
            part = np.asarray(hash_pandas_object(part, index=False))  # type: ignore[operator]  # pandas loads it late
        except TypeError:  # lists and the like, which are refused when they are read as numbers
            return
    array = part.detach().cpu().double().numpy() if isinstance(part, Tensor) else np.asarray(part)
    digest.update(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
