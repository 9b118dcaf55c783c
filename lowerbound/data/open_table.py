"""Which kind of table something is: what a user may hand over, and what is in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from .array_tables import Mapped, Numbers, mapped
from .frame_table import Frame
from .input_checks import as_tensor
from .parquet import Parquet
from .table import Table
from .torch_tables import Items, Loader


def as_table(x: Any) -> Table:
    """`x` as a table: tensor, array, DataFrame, Dataset, DataLoader, or the path of a .npy file, a Parquet file or a
    folder of them.

    Raises TypeError for an iterable-style dataset, ValueError or FileNotFoundError for what is not there or no table.
    """
    if isinstance(x, Table):
        return x
    if isinstance(x, str | os.PathLike):
        return open_table(Path(x))
    if isinstance(x, IterableDataset) or (isinstance(x, DataLoader) and isinstance(x.dataset, IterableDataset)):
        raise TypeError("got an iterable-style dataset, expected one with a length that can be read more than once")
    if isinstance(x, DataLoader):
        return Loader(x)
    if isinstance(x, TensorDataset):
        return Numbers(x.tensors[0])
    if isinstance(x, Dataset):
        return Items(x)
    if isinstance(x, pd.DataFrame):
        return Frame(x)
    if isinstance(x, np.memmap):
        return Mapped(x)
    if isinstance(x, Tensor | np.ndarray):
        return Numbers(x)
    if (array := np.asarray(x)).ndim != 2:
        as_tensor(x)  # raises, and says what x is
    return Numbers(array)


def open_table(path: Path) -> Table:
    """The table in a .npy file, memory-mapped, in a Parquet file, or in a folder of Parquet files, read by batches."""

    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir() or path.suffix.lower() == ".parquet":
        return Parquet(path)
    if path.suffix.lower() != ".npy":
        raise ValueError(f"{path} is not a file of a known kind, expected .npy, .parquet or a folder of .parquet files")
    return as_table(mapped(path))


def conform(x: Any, model: Any) -> Any:
    """`x` as `model`, if it remembers a table of names, would read it; anything but a table as it is. A file is read
    into memory."""
    schema = getattr(model, "schema", None)
    if isinstance(x, str | os.PathLike):
        x = as_table(x).whole()
    return schema.conform(x) if schema is not None and isinstance(x, pd.DataFrame) else x
