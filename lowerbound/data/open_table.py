"""Opening a table: the `Table` of an object that a user passes, or of a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from .array_tables import ArrayTable, MemoryMappedTable, open_npy
from .dataframe_table import DataFrameTable
from .dense_tensors import regular_array, require_dense
from .input_checks import as_tensor, is_category
from .model_abilities import refuse_categories, remembered_schema
from .parquet import ParquetTable
from .table import Table
from .torch_tables import DataLoaderTable, DatasetTable


def as_table(x: Any) -> Table:
    """`x` as a `Table`, which is read by row numbers and knows its number of rows and columns.

    Args:
        x: (n, d): a tensor, NumPy or memory-mapped array, nested list, DataFrame, Dataset, DataLoader, or the path of a
            .npy file, a Parquet file or a folder of Parquet files. A `Table` is returned as it is.

    Returns:
        The table. Values are neither read nor checked yet.

    Raises:
        TypeError: x is an iterable-style dataset, or no table of numbers.
        ValueError: x has another shape than (n, d), or the file is of another kind.
        FileNotFoundError: There is no such file.

    Example:
        >>> from lowerbound.data import as_table
        >>> table = as_table([[1, 2], [3, 4], [5, 6]])
        >>> len(table), table.features, table.read(slice(0, 1)).tolist()
        (3, 2, [[1, 2]])
    """
    if isinstance(x, Table):
        return x
    if isinstance(x, str | os.PathLike):
        return open_file(Path(x))
    if isinstance(x, IterableDataset) or (isinstance(x, DataLoader) and isinstance(x.dataset, IterableDataset)):
        raise TypeError(
            "got an iterable-style dataset, expected one with a length that can be read more than once: "
            "pass a map-style Dataset or an array"
        )
    if isinstance(x, DataLoader):
        return DataLoaderTable(x)
    if isinstance(x, TensorDataset):
        return ArrayTable(require_dense(x.tensors[0]))
    if isinstance(x, Dataset):
        return DatasetTable(x)
    if isinstance(x, pd.DataFrame):
        return DataFrameTable(x)
    if isinstance(x, np.memmap):
        return MemoryMappedTable(x)
    if isinstance(x, Tensor | np.ndarray):
        return ArrayTable(require_dense(x).detach() if isinstance(x, Tensor) else x)
    if (array := regular_array(x, "a table")).ndim != 2:
        as_tensor(x)  # raises, with a sentence about what x is
    return ArrayTable(array)


def open_file(path: Path) -> Table:
    """The table in a .npy file, which is memory-mapped, or in a Parquet file or a folder of them, read in batches."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir() or path.suffix.lower() == ".parquet":
        return ParquetTable(path)
    if path.suffix.lower() != ".npy":
        raise ValueError(f"{path} is not a file of a known kind, expected .npy, .parquet or a folder of .parquet files")
    return as_table(open_npy(path))


def conform(x: Any, model: Any) -> Any:
    """The columns of x that `model` was fitted to, in its order and with its codes; a tensor holds these already.

    A file is read into memory. Raises ValueError if a column of categories stands where the model has numbers.
    """
    schema = remembered_schema(model)
    if isinstance(x, str | os.PathLike):
        x = as_table(x).read_all()
    if schema is not None and isinstance(x, pd.DataFrame | np.ndarray):
        x = schema.conform(x)
    if isinstance(x, pd.DataFrame):
        refuse_categories(x.columns, map(is_category, x.dtypes), model)
    return x
