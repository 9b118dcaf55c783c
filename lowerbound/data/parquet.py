"""Parquet files, read in batches: the rows of a file, or of all files of a folder, as one table."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .file_names import short_reason
from .parquet_columns import data_fields, kind_of, require_same_columns, type_to_read
from .parquet_file import open_parquet
from .schema import Schema
from .table import Index, Table
from .table_views import ConformedTable, RowRange

BATCH_ROWS = 1 << 14  # rows decoded at a time
MOST_WORDS = 1 << 16  # different words in a column: a column with more holds names, not categories


class ParquetTable(Table):
    """The rows of one Parquet file, or of the files of a folder in alphabetical order.

    Columns of words and of dictionaries are categories; nulls are missing values. Reading continues at the last batch,
    so that a pass decodes each batch once. Only one batch is held, and the pages of the row group that it is in.
    Raises ValueError if a file is no Parquet file or has other columns than the first.
    """

    in_memory = is_random_access = False

    def __init__(self, path: Path):
        paths = sorted(p for p in path.iterdir() if p.suffix.lower() == ".parquet") if path.is_dir() else [path]
        if not paths:
            raise ValueError(f"{path} is a folder without .parquet files, expected some")
        self.path, self.paths, self.nbytes = path, paths, sum(p.stat().st_size for p in paths)
        self._files = [open_parquet(p) for p in paths]
        groups = [
            (file, group, file.metadata.row_group(group).num_rows)
            for file in self._files
            for group in range(file.metadata.num_row_groups)
        ]
        self._groups = [(file, group) for file, group, n in groups if n]
        self._edges = np.concatenate([[0], np.cumsum([n for *_, n in groups if n], dtype=np.int64)]).astype(np.int64)
        fields = data_fields(self._files[0])
        self._names = [field.name for field in fields]
        for p, file in zip(paths, self._files, strict=True):
            require_same_columns(p, data_fields(file), paths[0], fields)
        kinds = {name: {file.schema_arrow.field(name).type for file in self._files} for name in self._names}
        self._word_columns = [field.name for field in fields if kind_of(field.type) == "words"]
        self._types = {name: type_to_read(own) for name, own in kinds.items()}
        self._lock = threading.Lock()
        self._batches: Iterator[tuple[int, pa.Table]] = iter(())
        self._batch = pa.schema([]).empty_table()  # the batch that was decoded last
        self._batch_start = 0  # the number of its first row

    def __len__(self) -> int:
        return int(self._edges[-1])

    @property
    def features(self) -> int:
        """The number of columns."""
        return len(self._names)

    @cached_property
    def schema(self) -> Schema:  # type: ignore[override]
        """The names of columns and categories. All columns of words are read for it, once."""
        levels = (tuple(map(str, self._words[n])) if n in self._words else None for n in self._names)
        return Schema(tuple(self._names), tuple(levels))

    @property
    def dtypes(self) -> list[Any]:
        """The types of the columns as they are read."""
        return list(self.read(slice(0, 1)).dtypes)

    @property
    def runs(self) -> list[tuple[int, int]]:
        """The row groups."""
        return list(zip(self._edges[:-1].tolist(), self._edges[1:].tolist(), strict=True))

    def read(self, index: Index) -> pd.DataFrame:
        """The rows as a DataFrame. Fastest if they are in order."""
        rows = np.arange(index.start, index.stop) if isinstance(index, slice) else index.numpy()
        order = None if (np.diff(rows) > 0).all() else np.argsort(rows, kind="stable")
        table = self._ordered(rows if order is None else rows[order])
        frame = pd.concat([self._column(table[name], name) for name in self._names], axis=1)
        return frame if order is None else frame.iloc[np.argsort(order)]

    def conformed(self, schema: Schema) -> Table:
        """This table with columns and categories in the order of `schema`."""
        return self if self.schema == schema else ConformedTable(self, schema)

    def part(self, start: int, stop: int) -> Table:
        """A view of these rows."""
        return RowRange(self, start, stop)

    @cached_property
    def _words(self) -> dict[str, list[Any]]:
        """The categories of each column of words: in the order of its dictionary, or else in alphabetical order."""
        found: dict[str, dict[Any, None]] = {name: {} for name in self._word_columns}
        plain = set()
        for file in self._files if found else ():
            for batch in self._words_of(file, list(found)):
                for name, words in found.items():
                    column = batch.column(name)
                    if isinstance(column, pa.DictionaryArray):
                        column = column.dictionary
                    else:
                        plain.add(name)
                    if len(words) <= MOST_WORDS:
                        new = pc.unique(column).drop_null().to_pylist()  # type: ignore[attr-defined]
                        words.update(dict.fromkeys(new))
        found = {name: words for name, words in found.items() if len(words) <= MOST_WORDS}
        return {name: sorted(words) if name in plain else list(words) for name, words in found.items()}

    def _words_of(self, file: pq.ParquetFile, names: list[str]) -> Iterator[pa.RecordBatch]:
        """These columns of a file. Raises ValueError if they cannot be read."""
        try:
            yield from file.iter_batches(BATCH_ROWS, columns=names)
        except (OSError, UnicodeError, pa.ArrowException) as error:
            raise ValueError(f"{self.path} is damaged: {short_reason(error)}") from error

    def _ordered(self, rows: np.ndarray) -> pa.Table:
        """Rows given in ascending order. Reading continues from the last batch where it can."""
        pieces, done = [], 0
        with self._lock:
            while done < len(rows):
                wanted = int(rows[done])
                end = self._batch_start + self._batch.num_rows
                if not self._batch_start <= wanted < end:
                    self._forward(wanted, end)
                    continue
                upto = done + int(np.searchsorted(rows[done:], end))
                local = rows[done:upto] - self._batch_start
                is_run = local[-1] - local[0] + 1 == len(local)
                pieces.append(self._batch.slice(local[0], len(local)) if is_run else self._batch.take(pa.array(local)))
                done = upto
        return pa.concat_tables(pieces)

    def _forward(self, wanted: int, end: int) -> None:
        """Decode the next batch, or the first batch of the row group that holds row `wanted`, whichever is nearer."""
        group = int(np.searchsorted(self._edges, wanted, side="right")) - 1
        if not self._edges[group] <= end <= wanted:
            self._batches = self._batches_from(group)
        try:
            self._batch_start, self._batch = next(self._batches)
        except (OSError, UnicodeError, pa.ArrowException) as error:
            self._batches, self._batch = iter(()), self._batch.slice(0, 0)
            raise ValueError(f"{self.path} cannot be read near row {wanted}: {short_reason(error)}") from error
        except StopIteration:  # nothing was read yet, or the last batch was, or an error came
            self._batches = self._batches_from(group)

    def _batches_from(self, group: int) -> Iterator[tuple[int, pa.Table]]:
        """All batches from this row group on, as (number of the first row, batch)."""
        for (file, own), (start, stop) in zip(self._groups[group:], self.runs[group:], strict=True):
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[own], columns=self._names):
                columns = [self._encoded(batch.column(name), name) for name in self._names]
                yield start, pa.table(columns, self._names)
                start += batch.num_rows
            if start != stop:
                raise OSError(f"a row group ends at row {start}, expected {stop} as the end of the file says")

    def _encoded(self, column: pa.Array, name: str) -> pa.Array:
        """Words as codes, numbers in one type for all files."""
        if name not in self._words:
            if name in self._word_columns:  # too many: a reader is told that the column holds no numbers
                return column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
            return column.cast(self._types[name])
        words, coded = self._words[name], isinstance(column, pa.DictionaryArray)
        values = column.dictionary if coded else column
        codes = pc.index_in(values, value_set=pa.array(words, values.type))  # type: ignore[attr-defined]
        return codes.take(column.indices) if coded else codes

    def _column(self, column: pa.ChunkedArray, name: str) -> pd.Series:
        """A decoded column for pandas, codes as categories."""
        if name not in self._words:
            return column.to_pandas().rename(name)
        codes = column.fill_null(-1).to_numpy()
        return pd.Series(pd.Categorical.from_codes(codes, self._words[name]), name=name)
