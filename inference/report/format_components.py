"""A table of components as words, laid out to fit a width: for text and for the page."""

from __future__ import annotations

import pandas as pd


def format_components(table: pd.DataFrame, width: int, most: int) -> tuple[list[str], list[list[str]], int]:
    """A table of `component_tables` as words: its header, its lines, and how many columns are left out after `most`.

    There is one line for each component and fit, or, if that is wider than `width` characters, one for each column.
    """
    shown = table.iloc[:, :most]
    cells = [[f"{value:#.5g}".rstrip(".") for value in line] for line in shown.to_numpy()]
    alone = table.index.get_level_values("fit").nunique() == 1
    heads = [[str(component)] if alone else [str(component), str(fit)] for component, fit in table.index]
    names = [str(name) for name in shown.columns]
    left_out = table.shape[1] - len(names)
    across = sum(max(map(len, column)) + 3 for column in zip(names, *cells, strict=True)) + 20
    if across <= width:
        header = ["component", "fit"][: len(heads[0])] + names
        return header, [h + c for h, c in zip(heads, cells, strict=True)], left_out
    lines = [[name, *line] for name, line in zip(names, zip(*cells, strict=True), strict=True)]
    return ["component", *(" ".join(head) for head in heads)], lines, left_out
