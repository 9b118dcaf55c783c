"""Processes with different tables find out: one value among all differs."""

import numpy as np
import pandas as pd
import pytest
import torch

from lowerbound.data import as_rows
from lowerbound.data.table_digest import PIECE, table_digest

KINDS = {
    "float64": lambda x: x,
    "float32": lambda x: x.astype(np.float32),
    "columns in turn": np.asfortranarray,
    "tensor": torch.tensor,
    "frame": lambda x: pd.DataFrame(x, columns=["a", "b"]),
    "words": lambda x: pd.DataFrame({"a": x[:, 0], "b": pd.Categorical(np.where(x[:, 1] > 0, "yes", "no"))}),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_one_value_of_a_table_in_memory(kind):
    """In a table that is hashed in several pieces."""
    x = np.random.default_rng(0).normal(size=(PIECE // 2 + 7, 2))
    digests = {table_digest(as_rows(kind(x)))}
    assert digests == {table_digest(as_rows(kind(x.copy())))}
    for row in (0, 1, 4999, PIECE // 2 + 1, len(x) - 1):
        changed = x.copy()
        changed[row, 1] *= -1
        digests.add(table_digest(as_rows(kind(changed))))
    swapped = x.copy()
    swapped[[5, 6]] = x[[6, 5]]
    assert len(digests | {table_digest(as_rows(kind(swapped)))}) == 7
