"""The components of a mixture as one table: weights, and the parameters of each column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from ..families.family import Family


def component_table(
    family: Family,
    weights: Tensor,
    order: Tensor,
    columns: Sequence[str],
    levels: Sequence[Sequence[str] | None] | None,
) -> pd.DataFrame:
    """One row per component, in this order: its weight (k,) and its profiles, sorted by the column they belong to.

    columns: names; levels: for each column the names of its categories, or None for their codes.
    """
    cells = []
    for profile in family.profiles():
        for i, (column, values) in enumerate(zip(profile.columns, profile.values[order].T, strict=True)):
            words = None if levels is None or column < 0 else levels[column]
            name = f"{profile.kind} of {columns[column]}" if column >= 0 else profile.kind
            if profile.levels is not None:
                level = words[profile.levels[i]] if words else profile.levels[i]
                name = f"{profile.kind}({columns[column]} = {level})"
            cells.append((column if column >= 0 else len(columns), name, values.numpy()))
    cells.sort(key=lambda cell: cell[0])
    table = np.column_stack([weights[order].numpy(), *(values for _, _, values in cells)])
    header = ["weight", *(name for _, name, _ in cells)]
    return pd.DataFrame(table, index=pd.Index(order.tolist(), name="component"), columns=header)
