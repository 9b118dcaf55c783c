"""One Parquet file: opened for reading in batches, or read whole; what is damaged is said in one sentence."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from .file_names import short_reason, utf8_name
from .parquet_columns import data_fields


def open_parquet(path: Path) -> pq.ParquetFile:
    """A file whose description at its end can be read, and agrees with itself."""
    try:
        with utf8_name(path) as name:
            file = pq.ParquetFile(name, memory_map=False, pre_buffer=False, page_checksum_verification=True)
        groups = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        data_fields(file)
    except PermissionError:
        raise
    except Exception as error:  # of many kinds: the end of the file may say anything
        raise ValueError(f"{path} is not a Parquet file, or is damaged: {short_reason(error)}") from error
    if min(groups, default=0) < 0 or sum(groups) != file.metadata.num_rows:
        raise ValueError(
            f"{path} is damaged: it has {file.metadata.num_rows} rows, but row groups of {groups[:8]} rows"
        )
    return file


def read_frame(path: Path) -> pd.DataFrame:
    """The DataFrame in a Parquet file. Raises ValueError if it is damaged."""
    try:
        with path.open("rb") as file:
            return pd.read_parquet(file, page_checksum_verification=True)
    except PermissionError:
        raise
    except Exception as error:  # of many kinds: pages, and what pandas wrote about its index, may say anything
        raise ValueError(f"{path} is not a Parquet file, or is damaged: {short_reason(error)}") from error
