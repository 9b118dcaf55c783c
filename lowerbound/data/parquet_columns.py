"""The columns of Parquet files: what they hold, and whether the files of a folder have the same ones."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def data_fields(file: pq.ParquetFile) -> list[pa.Field]:
    """The columns of a file, without those that pandas wrote as an index."""
    schema = file.schema_arrow
    about = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    index = [name for name in about.get("index_columns", ()) if isinstance(name, str)]
    return [field for field in schema if field.name not in index]


def kind_of(kind: pa.DataType) -> str:
    """What a column holds: "words", "numbers", "dates", or the name of a type that is not read. All files agree."""
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "words"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return "numbers"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_duration(kind):
        return "dates"
    return "numbers" if pa.types.is_decimal(kind) or pa.types.is_null(kind) else str(kind)


def require_same_columns(path: Path, fields: list[pa.Field], other: Path, wanted: list[pa.Field]) -> None:
    """Raise ValueError or TypeError unless the columns of file `path` can be read as those of file `other`."""
    own, theirs = ({field.name: kind_of(field.type) for field in each} for each in (fields, wanted))
    if not own:
        raise ValueError(f"{path} has no columns, expected at least one")
    if len(own) < len(fields):
        raise ValueError(f"{path} has several columns of one name, expected each name once")
    if own.keys() != theirs.keys():
        raise ValueError(f"{path} has columns {', '.join(own)}, expected those of {other}, {', '.join(theirs)}")
    for name, kind in own.items():
        if kind != theirs[name]:
            raise ValueError(f"column {name!r} of {path} holds {kind}, expected {theirs[name]} as in {other}")
        if kind not in ("words", "numbers", "dates"):
            raise TypeError(
                f"column {name!r} of {path} holds {kind} values, expected numbers or words: drop the column or write "
                "it as numbers"
            )


def are_plain_numbers(kinds: set[pa.DataType]) -> bool:
    """Whether a column that has these types in the files is read in its own type: one type, of numbers."""
    return len(kinds) == 1 and all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds)


def type_to_read(kinds: set[pa.DataType]) -> pa.DataType:
    """The type in which a column that has these types in the files is read: its own, or one that holds them all."""
    first = next(iter(kinds))
    if kind_of(first) == "dates":
        return first if pa.types.is_duration(first) and len(kinds) == 1 else pa.timestamp("us")
    return first if are_plain_numbers(kinds) else pa.float64()
