"""Tables from files: CSV, Parquet and .npy, or one sentence that says what is wrong with the file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from .. import datasets
from .array_tables import open_npy
from .parquet import ParquetTable

IN_MEMORY = 1 << 26  # Parquet files of at most so many bytes (64 MiB) become a DataFrame


def read(data: str) -> Any:
    """The table in a file or a folder, or a built-in data set by its name.

    Columns of words become pandas categories, in alphabetical order. The first line of a CSV file is taken for the
    column names if one of its entries is not a number.

    Args:
        data: The name of a data set of `lowerbound.datasets`, or the path of a .csv, .parquet or .npy file or of a
            folder of .parquet files.

    Returns:
        A DataFrame; for a .npy file a memory-mapped array (n, d); for Parquet files of more than 64 MiB in all a
        `Table` that is read as it is needed. `fit` takes each of them.

    Raises:
        FileNotFoundError: There is no such file or data set.
        ValueError: The file is damaged, empty or of another kind.
        TypeError: A column holds neither numbers nor words.

    Example:
        >>> from lowerbound.data import read
        >>> read("faithful").shape
        (272, 2)
    """
    if data in datasets.names():
        return datasets.load(data)
    path = Path(data)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {data}, nor a data set among {', '.join(datasets.names())}")
    readers = {".csv": _csv, ".parquet": _parquet, ".npy": open_npy}
    if path.is_dir():
        table = _parquet(path)
    elif path.suffix.lower() in readers:
        table = readers[path.suffix.lower()](path)
    else:
        raise ValueError(
            f"{data} is not a file of a known kind, expected one that ends in {', '.join(readers)}, or a folder of "
            ".parquet files"
        )
    return _with_categories(table, path) if isinstance(table, pd.DataFrame) else table


def _csv(path: Path) -> pd.DataFrame:
    """The table in a CSV file, with names of its columns."""
    try:
        head = pd.read_csv(path, header=None, nrows=1, encoding="utf-8-sig", dtype=str)
        names = head.to_numpy()[0].tolist()
        if len(names) == 1 and (found := [mark for mark in (";", "\t", "|") if mark in str(names[0])]):
            raise ValueError(f"its columns are separated by {found[0]!r}, expected commas")
        has_header = any(isinstance(cell, str) and not _is_number(cell) for cell in names)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # raised for rows longer than the header
            table = pd.read_csv(
                path, header=0 if has_header else None, encoding="utf-8-sig", index_col=False, low_memory=False
            )
    except pd.errors.ParserWarning as error:
        raise ValueError(f"{path} has rows with more values than its header has names, expected as many") from error
    except (ValueError, IndexError) as error:  # pandas raises its parser errors as ValueError
        raise ValueError(f"{path} is not a table of comma-separated values: {error}") from error
    if has_header:
        nameless = [str(i) for i, name in enumerate(names) if not isinstance(name, str)]
        if nameless:
            raise ValueError(
                f"column {', '.join(nameless)} of {path} has no name, as when row numbers were written too: "
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
    """The table in Parquet files: a DataFrame if it is small."""
    table = ParquetTable(path)
    if table.nbytes > IN_MEMORY:
        return table
    try:
        return pd.concat([pd.read_parquet(file) for file in table.paths]) if path.is_dir() else pd.read_parquet(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from error


def _with_categories(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with its columns of words as categories. Raises TypeError for other columns, such as dates."""
    if len(table) == 0:
        raise ValueError(f"{path} has no rows below its header, expected at least one")
    kinds: dict[Any, str] = {}
    for name, column in table.items():
        if pd.api.types.is_numeric_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype):
            continue
        kind = pd.api.types.infer_dtype(column, skipna=True)
        if kind == "boolean":  # with missing values
            kinds[name] = "boolean"
            continue
        if kind not in ("string", "empty"):
            raise TypeError(
                f"column {str(name)!r} of {path} holds {column.dtype} values, expected numbers or words: drop the "
                "column or write it as numbers"
            )
        kinds[name] = "category"
    return table.astype(kinds)  # type: ignore[reportArgumentType]
