"""A digest by which processes find out that they have different tables."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import torch
from pandas.util import hash_pandas_object

from .input_checks import as_tensor
from .rows import Rows

PIECE = 1 << 20  # values that are hashed at a time
SPACED_ROWS = 1 << 12  # rows, evenly spaced, of a table in files
EDGE_ROWS = 1 << 8  # rows at the beginning and at the end of a file whose rows are slow to reach


def table_digest(rows: Rows) -> str:
    """A hash of columns, weights and labels, and of the rows: of all rows in memory, of some rows in files.

    Rows in memory take less time than one pass of EM. Files are not read whole, since each process would read the parts
    of all others, too. The rows of a Dataset, which may draw them, are left out.
    """
    digest = hashlib.sha256(repr(rows.schema).encode(errors="surrogatepass"))  # by instructions of the processor
    for part in (rows.weights, rows.labels):
        digest.update(b"none" if part is None else part.numpy().tobytes())
    table, n = rows._table, len(rows)
    if rows.is_fixed and table.in_memory:
        for _, part in table.pieces(max(1, PIECE // table.features)):
            _update(digest, part)
    elif rows.is_fixed and table.is_random_access:
        _update(digest, table.read(torch.arange(0, n, max(1, n // SPACED_ROWS))))
        _update(digest, table.read(slice(n - 1, n)))
    elif rows.is_fixed:
        for part in (slice(0, min(n, EDGE_ROWS)), slice(max(0, n - EDGE_ROWS), n)):
            _update(digest, table.read(part))
    return digest.hexdigest()


def _update(digest: Any, part: Any) -> None:
    """Add rows, as a table gives them, to a hash."""
    try:
        array = as_tensor(part, finite=False).detach().cpu().numpy()
    except (TypeError, ValueError):  # words, and what is refused later, when it is read as numbers
        try:
            array = np.asarray(hash_pandas_object(pd.DataFrame(part), index=False))  # type: ignore[operator]  # loaded late
        except (TypeError, ValueError):
            return
    digest.update(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data.cast("B"))
