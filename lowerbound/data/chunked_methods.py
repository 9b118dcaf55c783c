"""Methods of a model that take one value per row from any table, a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from .model_abilities import RefusesValues
from .open_table import as_table
from .row_reader import CHUNK_ROWS
from .rows import EVALUATION_ROWS, as_rows


def by_chunks(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a method of a model that returns one value per row take any table that `Rows` takes.

    A small table in memory is passed on as it is. Of a larger one the method gets 8,192 rows at a time.

    Args:
        method: `method(self, x)` or `method(self, x, labels)`, where x is (n, d) and the returned tensor has n rows.

    Returns:
        The method with the same arguments, for tables of any kind and size.

    Example:
        >>> from lowerbound.data import by_chunks
        >>> class Model:
        ...     @by_chunks
        ...     def total(self, x):
        ...         return x.sum(-1)
        >>> import torch
        >>> Model().total(torch.ones(2, 3))
        tensor([3., 3.])
    """

    @wraps(method)
    def of_all_rows(self: Any, x: Any, labels: Any = None) -> Tensor:
        table = as_table(x)
        if table.in_memory and len(table) <= CHUNK_ROWS:
            return method(self, x, *(() if labels is None else (labels,)))
        parts, rows = [], as_rows(table, None, labels, self)
        for chunk in rows.chunks(EVALUATION_ROWS):
            if isinstance(self, RefusesValues):
                self._require_supported(chunk.x, rows.columns, chunk.row_numbers)
            parts.append(method(self, chunk.x, *(() if labels is None else (chunk.labels,))))
        return torch.cat(parts)

    return of_all_rows
