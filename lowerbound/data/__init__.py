"""Reading of tables: arrays, DataFrames, files, Datasets and streams become rows, read a chunk at a time.

`Rows` is what engines and models read; `as_rows` and `as_table` accept what a user passes. They use
`Table` (table.py), with one short class for each kind of source (array_tables.py, dataframe_table.py, parquet.py,
torch_tables.py) and for views of a table (table_views.py). A new kind of source derives from `Table`, writes
`__len__`, `features`, `read` and `part`, and is added to `as_table` in open_table.py. input_checks.py checks values,
weights and labels; kinds_by_values.py says what the columns hold; table_statistics.py computes means, covariances and
counts of missing values.

Modules here import each other, `lowerbound.datasets` and libraries. They import neither models nor inference;
model_abilities.py has the two abilities of a model that they use.
"""

from .binarized import Binarized
from .chunk import Chunk
from .chunked_methods import by_chunks
from .column_kinds import ColumnKind, ColumnKinds
from .held_out import split
from .moments import MissingValues, Moments, Spread
from .open_table import as_table
from .read_file import read
from .rows import Rows, as_rows
from .schema import Schema
from .table import Table

__all__ = [
    "Binarized",
    "Chunk",
    "ColumnKind",
    "ColumnKinds",
    "MissingValues",
    "Moments",
    "Rows",
    "Schema",
    "Spread",
    "Table",
    "as_rows",
    "as_table",
    "by_chunks",
    "read",
    "split",
]
