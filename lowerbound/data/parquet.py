"""Parquet files, read by batches: rows in a file or a folder of files, as those of one DataFrame."""

from __future__ import annotations

import json
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

from .schema import Schema
from .table import Conformed, Index, Table

BATCH_ROWS = 1 << 14  # decoded at a time
MOST_WORDS = 1 << 16  # different ones in a column: more are names, not categories


class Parquet(Table):
    """Row groups of one file, or of the files of a folder in alphabetical order.

    Columns of words and of dictionaries are categories; nulls are missing cells. Reading goes on where it ended before,
    so that a pass decodes each batch once; only batches are held, and the pages of a row group that they are in.
    Raises ValueError for what is no Parquet file, and for files of other columns than the first.
    """

    in_memory = is_scattered = False

    def __init__(self, path: Path):
        paths = sorted(p for p in path.iterdir() if p.suffix.lower() == ".parquet") if path.is_dir() else [path]
        if not paths:
            raise ValueError(f"{path} is a folder without .parquet files, expected some")
        self.path, self.paths, self.nbytes = path, paths, sum(p.stat().st_size for p in paths)
        self._files = [_opened(p) for p in paths]
        groups = [
            (file, group, file.metadata.row_group(group).num_rows)
            for file in self._files
            for group in range(file.metadata.num_row_groups)
        ]
        self._groups = [(file, group) for file, group, n in groups if n]
        self._edges = np.concatenate([[0], np.cumsum([n for *_, n in groups if n], dtype=np.int64)]).astype(np.int64)
        fields = _fields(self._files[0])
        self._names = [field.name for field in fields]
        for p, file in zip(paths, self._files, strict=True):
            _require_alike(p, _fields(file), paths[0], fields)
        kinds = {name: {file.schema_arrow.field(name).type for file in self._files} for name in self._names}
        self._worded = [field.name for field in fields if _kind(field.type) == "words"]
        self._types = {name: next(iter(own)) if _are_plain(own) else pa.float64() for name, own in kinds.items()}
        self._lock = threading.Lock()
        self._going: Iterator[tuple[int, pa.Table]] = iter(())
        self._at, self._batch = (
            0,
            pa.schema([]).empty_table(),
        )  # the number of its first row, and the batch that was decoded last

    def __len__(self) -> int:
        return int(self._edges[-1])

    @property
    def features(self) -> int:
        """The number of columns."""
        return len(self._names)

    @cached_property
    def schema(self) -> Schema:  # type: ignore[override]
        """The names of columns and categories. Looks through the columns of words, once."""
        levels = (tuple(map(str, self._words[n])) if n in self._words else None for n in self._names)
        return Schema(tuple(self._names), tuple(levels))

    @property
    def runs(self) -> list[tuple[int, int]]:
        """The row groups."""
        return list(zip(self._edges[:-1].tolist(), self._edges[1:].tolist(), strict=True))

    def read(self, index: Index) -> pd.DataFrame:
        """The rows as a DataFrame, quickest where they are in order."""
        rows = np.arange(index.start, index.stop) if isinstance(index, slice) else index.numpy()
        order = None if (np.diff(rows) > 0).all() else np.argsort(rows, kind="stable")
        table = self._ordered(rows if order is None else rows[order])
        frame = pd.concat([self._column(table[name], name) for name in self._names], axis=1)
        return frame if order is None else frame.iloc[np.argsort(order)]

    def conformed(self, schema: Schema) -> Table:
        """This table with its columns and words in the order of another."""
        return self if self.schema == schema else Conformed(self, schema)

    # inside

    @cached_property
    def _words(self) -> dict[str, list[Any]]:
        """The words of each column of them: in the order of its dictionaries, or else of the alphabet."""
        found: dict[str, dict[Any, None]] = {name: {} for name in self._worded}
        plain = set()
        for file in self._files if found else ():
            for batch in file.iter_batches(BATCH_ROWS, columns=list(found)):
                for name, words in found.items():
                    column = batch.column(name)
                    if isinstance(column, pa.DictionaryArray):
                        column = column.dictionary
                    else:
                        plain.add(name)
                    words.update(dict.fromkeys(pc.unique(column).drop_null().to_pylist()))  # type: ignore[attr-defined]
                    if len(words) > MOST_WORDS:
                        raise ValueError(
                            f"column {name!r} of {self.path} holds more than {MOST_WORDS} different words, expected "
                            "categories that many rows share: drop the column"
                        )
        return {name: sorted(words) if name in plain else list(words) for name, words in found.items()}

    def _ordered(self, rows: np.ndarray) -> pa.Table:
        """Rows in ascending order, going on from the last batch where that is on the way."""
        pieces, taken = [], 0
        with self._lock:
            while taken < len(rows):
                wanted = int(rows[taken])
                end = self._at + self._batch.num_rows
                if not self._at <= wanted < end:
                    self._forward(wanted, end)
                    continue
                upto = taken + int(np.searchsorted(rows[taken:], end))
                local = rows[taken:upto] - self._at
                whole = local[-1] - local[0] + 1 == len(local)
                pieces.append(self._batch.slice(local[0], len(local)) if whole else self._batch.take(pa.array(local)))
                taken = upto
        return pa.concat_tables(pieces)

    def _forward(self, wanted: int, end: int) -> None:
        """The next batch, or the first one of the row group that holds the row, whichever is nearer."""
        group = int(np.searchsorted(self._edges, wanted, side="right")) - 1
        if not self._edges[group] <= end <= wanted:
            self._going = self._from(group)
        try:
            self._at, self._batch = next(self._going)
        except (OSError, pa.ArrowException) as error:
            self._going, self._batch = iter(()), self._batch.slice(0, 0)
            raise ValueError(f"{self.path} cannot be read near row {wanted}: {error}") from error
        except StopIteration:  # where a file was left, or nothing was read before
            self._going = self._from(group)

    def _from(self, group: int) -> Iterator[tuple[int, pa.Table]]:
        """All batches from a row group on, each with the number of its first row."""
        for (file, own), start in zip(self._groups[group:], self._edges[group:].tolist(), strict=False):
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[own], columns=self._names):
                columns = [self._read_as(batch.column(name), name) for name in self._names]
                yield start, pa.table(columns, self._names)
                start += batch.num_rows

    def _read_as(self, column: pa.Array, name: str) -> pa.Array:
        """The codes of words, and numbers of one type in all files."""
        if name not in self._words:
            return column.cast(self._types[name])
        words, coded = self._words[name], isinstance(column, pa.DictionaryArray)
        values = column.dictionary if coded else column
        codes = pc.index_in(values, value_set=pa.array(words, values.type))  # type: ignore[attr-defined]
        return codes.take(column.indices) if coded else codes

    def _column(self, column: pa.ChunkedArray, name: str) -> pd.Series:
        if name not in self._words:
            return column.to_pandas().rename(name)
        codes = column.fill_null(-1).to_numpy()
        return pd.Series(pd.Categorical.from_codes(codes, self._words[name]), name=name)


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=False, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from error


def _fields(file: pq.ParquetFile) -> list[pa.Field]:
    """The columns, without those that pandas wrote as an index."""
    schema = file.schema_arrow
    about = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    index = [name for name in about.get("index_columns", ()) if isinstance(name, str)]
    return [field for field in schema if field.name not in index]


def _kind(kind: pa.DataType) -> str:
    """What a column holds, as far as files must agree on it."""
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "words"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return "numbers"
    return "numbers" if pa.types.is_decimal(kind) or pa.types.is_null(kind) else str(kind)


def _require_alike(path: Path, fields: list[pa.Field], other: Path, wanted: list[pa.Field]) -> None:
    own, theirs = ({field.name: _kind(field.type) for field in each} for each in (fields, wanted))
    if not own:
        raise ValueError(f"{path} has no columns, expected at least one")
    if len(own) < len(fields):
        raise ValueError(f"{path} has several columns of one name, expected each name once")
    if own.keys() != theirs.keys():
        raise ValueError(f"{path} has columns {', '.join(own)}, expected those of {other}, {', '.join(theirs)}")
    for name, kind in own.items():
        if kind != theirs[name]:
            raise ValueError(f"column {name!r} of {path} holds {kind}, expected {theirs[name]} as in {other}")
        if kind not in ("words", "numbers"):
            raise TypeError(
                f"column {name!r} of {path} holds {kind} values, expected numbers or words: drop the column or write "
                "it as numbers"
            )


def _are_plain(kinds: set[pa.DataType]) -> bool:
    """Whether pandas takes columns of these types for one column of numbers."""
    return len(kinds) == 1 and all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds)
