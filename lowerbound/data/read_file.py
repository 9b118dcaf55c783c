"""Tables from files: CSV, Parquet and .npy, or one sentence that says what is wrong with the file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from .. import datasets
from .array_tables import open_npy
from .csv_header import are_names, could_be_names, is_number
from .file_names import short_reason
from .input_checks import DATES, holds_dates
from .parquet import ParquetTable
from .parquet_file import read_frame

SAMPLE = 10_000  # lines of a CSV file that tell whether the first one is like them
IN_MEMORY = 1 << 26  # Parquet files of at most so many bytes (64 MiB) become a DataFrame


def read(data: str, header: bool | None = None) -> Any:
    """The table in a file or a folder, or a built-in data set by its name.

    Columns of words become pandas categories of the words that occur, in alphabetical order. The first line of a CSV
    file is taken for the column names if one of its entries is not a number, or if its numbers are 0, 1, 2, ... or
    different whole numbers unlike those below, such as years. A UserWarning says so where this is a guess.

    Args:
        data: The name of a data set of `lowerbound.datasets`, or the path of a .csv, .parquet or .npy file or of a
            folder of .parquet files.
        header: Whether the first line of a CSV file names the columns. None to decide by what it holds.

    Returns:
        A DataFrame; for a .npy file a memory-mapped array (n, d); for Parquet files of more than 64 MiB in all a
        `Table` that is read as it is needed. `fit` takes each of them.

    Raises:
        FileNotFoundError: There is no such file or data set.
        ValueError: The file is damaged, empty or of another kind, or header is given for another file than CSV.
        TypeError: A column holds neither numbers nor words.

    Example:
        >>> from lowerbound.data import read
        >>> read("faithful").shape
        (272, 2)
    """
    path = Path(data)
    if header is not None and path.suffix.lower() != ".csv":
        raise ValueError(f"header is {header} for {data}, expected a .csv file: other tables know their names")
    if data in datasets.names():
        return datasets.load(data)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {data}, nor a data set among {', '.join(datasets.names())}")
    readers = {".csv": lambda path: _csv(path, header), ".parquet": _parquet, ".npy": open_npy}
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


ROW_NAMES = "row names left out"  # in the attributes of a table: the sentence that says so


def header_note(data: str, table: Any, header: bool | None) -> str:
    """What `read` took a first line of numbers or a column of row names for, in a sentence; "" if for nothing."""
    path = Path(data)
    if path.suffix.lower() != ".csv" or not isinstance(table, pd.DataFrame):
        return ""
    if ROW_NAMES in table.attrs:
        return table.attrs[ROW_NAMES]
    if header is not None:
        return ""
    names = list(table.columns)
    if all(map(is_number, names)):
        return f"the first line of {path.name}, {_listed(names)}, was taken for the names of the columns, not for a row"
    if names == [f"column {i}" for i in range(len(names))]:
        return f"the first line of {path.name} was taken for a row: its columns have no names"
    return ""


def _csv(path: Path, header: bool | None) -> pd.DataFrame:
    """The table in a CSV file, with names of its columns."""
    try:
        head = pd.read_csv(path, header=None, nrows=1, encoding="utf-8-sig", dtype=str)
        names = head.to_numpy()[0].tolist()
        if len(names) == 1 and (found := [mark for mark in (";", "\t", "|") if mark in str(names[0])]):
            raise ValueError(f"its columns are separated by {found[0]!r}, expected commas")
        has_header = header
        if header is None:
            has_header = any(isinstance(cell, str) and not is_number(cell) for cell in names)
        begin = int(not isinstance(names[0], str))  # the column of row names, which pandas and R write, has no name
        if header is None and not has_header and all(isinstance(cell, str) for cell in names[begin:]):
            has_header = are_names(names[begin:], _lines_below(path, len(names)).iloc[:, begin:])
            if begin == 0 and (has_header or could_be_names(names)):
                warnings.warn(
                    f"the first line of {path.name}, {_listed(names)}, was taken for "
                    + ("the names of the columns, not for a row" if has_header else "a row, not for names of columns")
                    + ": say header=True or header=False if you know",
                    stacklevel=4,
                )
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # raised for rows longer than the header
            table = pd.read_csv(
                path, header=0 if has_header else None, encoding="utf-8-sig", index_col=False, low_memory=False
            )
    except pd.errors.ParserWarning as error:
        raise ValueError(f"{path} has rows with more values than its header has names, expected as many") from error
    except (ValueError, IndexError) as error:  # pandas raises its parser errors as ValueError
        raise ValueError(f"{path} is not a table of comma-separated values: {short_reason(error)}") from error
    if has_header:
        nameless = [str(i) for i, name in enumerate(names) if not isinstance(name, str)]
        if nameless == ["0"] and len(names) > 1 and table.iloc[:, 0].is_unique and table.iloc[:, 0].notna().all():
            note = f"the first column of {path.name} has no name and another value in each row, as row names: left out"
            warnings.warn(note, stacklevel=4)
            table = table.iloc[:, 1:]
            table.attrs[ROW_NAMES] = note
            return table
        if nameless:
            raise ValueError(
                f"column {', '.join(nameless)} of {path} has no name, as when row numbers were written too: "
                "drop it or name it"
            )
        return table
    return table.set_axis([f"column {i}" for i in range(table.shape[1])], axis=1)


def _lines_below(path: Path, columns: int) -> pd.DataFrame:
    """The lines after the first one, as far as they tell what it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.ParserWarning)  # rows of other lengths are refused later
        try:
            return pd.read_csv(
                path, header=None, skiprows=1, nrows=SAMPLE, encoding="utf-8-sig", names=range(columns),
                index_col=False, on_bad_lines="skip",
            )  # fmt: skip
        except pd.errors.EmptyDataError:
            return pd.DataFrame()


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f", ... ({len(names)})" if len(names) > 4 else "")


def _parquet(path: Path) -> Any:
    """The table in Parquet files: a DataFrame if it is small."""
    table = ParquetTable(path)
    if table.nbytes > IN_MEMORY:
        return table
    return pd.concat([read_frame(file) for file in table.paths]) if path.is_dir() else read_frame(path)


def _with_categories(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with its columns of words as categories. Numbers and dates stay. Raises TypeError for other columns."""
    if len(table) == 0:
        raise ValueError(f"{path} has no rows below its header, expected at least one")
    kinds: dict[Any, str] = {}
    for name, column in table.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            if column.cat.categories.size > column.nunique():
                table[name] = column.cat.remove_unused_categories()
            continue
        if pd.api.types.is_numeric_dtype(column) or holds_dates(column.dtype):
            continue
        kind = pd.api.types.infer_dtype(column, skipna=True)
        if kind in DATES:
            continue
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
