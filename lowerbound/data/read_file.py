"""Tables from files: CSV, Parquet and NumPy arrays, or one sentence that says what is wrong with them."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import datasets
from .array_tables import mapped
from .open_table import as_table
from .parquet import Parquet
from .rows import CHUNK_ROWS
from .table import SCATTERED_ROWS, Picked

IN_MEMORY = 1 << 26  # bytes of Parquet files that become a DataFrame


def read(data: str) -> Any:
    """A built-in data set by its name, or the table in a .csv, .parquet or .npy file or a folder of .parquet files: a
    DataFrame, or what is read as it is needed: a memory-mapped array (n, d), or Parquet files of more than 64 MiB.

    Columns of words become pandas categories, in alphabetical order. A CSV file may start with the names of its
    columns; it does if some cell of its first line is no number. Raises FileNotFoundError, and ValueError or TypeError
    for what is not a table of numbers and words.
    """
    if data in datasets.names():
        return datasets.load(data)
    path = Path(data)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {data}, nor a data set among {', '.join(datasets.names())}")
    kinds = {".csv": _csv, ".parquet": _parquet, ".npy": mapped}
    if path.is_dir():
        table = _parquet(path)
    elif path.suffix.lower() in kinds:
        table = kinds[path.suffix.lower()](path)
    else:
        raise ValueError(
            f"{data} is not a file of a known kind, expected one that ends in {', '.join(kinds)}, or a folder of "
            ".parquet files"
        )
    return _checked(table, path) if isinstance(table, pd.DataFrame) else table


def split(table: Any, share: float, seed: int) -> tuple[Any, Any]:
    """A table in two, at random but the same for one seed: the rows to learn from, and a `share` of them held out, both
    in their order. Of a table in a file these are views; of one of more than 4 million rows the share is drawn of each
    65,536 of them."""
    held = round(share * len(table))
    if not 0 < held < len(table):
        raise ValueError(
            f"--held-out is {share!r} of {len(table)} rows, expected a share that leaves rows on both sides"
        )
    whole = as_table(table)
    width = len(table) if whole.in_memory or len(table) <= SCATTERED_ROWS else CHUNK_ROWS

    @lru_cache(2)
    def chosen(window: int, rows: int) -> np.ndarray:
        before, after = (round(share * end) for end in (window * width, window * width + rows))
        own = np.zeros(rows, dtype=bool)
        random = np.random.default_rng(seed if width == len(table) else [seed, window])
        own[random.permutation(rows)[: after - before]] = True
        return own

    if whole.in_memory:
        mask = chosen(0, len(table))
        pick = table.loc if isinstance(table, pd.DataFrame) else table
        return pick[~mask], pick[mask]
    return Picked(whole, lambda window, rows: ~chosen(window, rows), width), Picked(whole, chosen, width)


def _csv(path: Path) -> pd.DataFrame:
    try:
        head = pd.read_csv(path, header=None, nrows=1, encoding="utf-8-sig", dtype=str)
        names = head.to_numpy()[0].tolist()
        if len(names) == 1 and (found := [mark for mark in (";", "\t", "|") if mark in str(names[0])]):
            raise ValueError(f"its columns are separated by {found[0]!r}, expected commas")
        has_header = any(isinstance(cell, str) and not _is_number(cell) for cell in names)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows with more cells than the header
            table = pd.read_csv(
                path, header=0 if has_header else None, encoding="utf-8-sig", index_col=False, low_memory=False
            )
    except pd.errors.ParserWarning as error:
        raise ValueError(f"{path} has rows with more cells than its header has names, expected as many") from error
    except (ValueError, IndexError) as error:  # pandas raises its parser errors as ValueError
        raise ValueError(f"{path} is not a table of comma-separated values: {error}") from error
    if has_header:
        nameless = [str(i) for i, name in enumerate(names) if not isinstance(name, str)]
        if nameless:
            raise ValueError(
                f"column {', '.join(nameless)} of {path} has no name, as when row numbers are written along: "
                "drop it or name it"
            )
        return table
    return table.set_axis([f"column {i}" for i in range(table.shape[1])], axis=1)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _parquet(path: Path) -> Any:
    table = Parquet(path)
    if table.nbytes > IN_MEMORY:
        return table
    try:
        return pd.concat([pd.read_parquet(file) for file in table.paths]) if path.is_dir() else pd.read_parquet(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from error


def _checked(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table, its columns of words as categories."""
    if len(table) == 0:
        raise ValueError(f"{path} has no rows below its header, expected at least one")
    kinds: dict[Any, str] = {}
    for name, column in table.items():
        if pd.api.types.is_numeric_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype):
            continue
        kind = pd.api.types.infer_dtype(column, skipna=True)
        if kind == "boolean":  # with cells missing
            kinds[name] = "boolean"
            continue
        if kind not in ("string", "empty"):
            raise TypeError(
                f"column {str(name)!r} of {path} holds {column.dtype} values, expected numbers or words: drop the "
                "column or write it as numbers"
            )
        kinds[name] = "category"
    return table.astype(kinds)  # type: ignore[reportArgumentType]
