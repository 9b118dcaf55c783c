"""Rows: any table that a user passes, read chunk by chunk, with row weights and labels."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from .chunk import Chunk
from .duplicate_rows import all_distinct, merge_duplicates, sample_for_duplicates
from .model_abilities import refuse_categories, remembered_schema, takes_missing
from .open_table import as_table
from .schema import Schema
from .table import Table
from .table_statistics import TableStatistics
from .table_views import NamedTable

EVALUATION_ROWS = 1 << 13  # rows of a large table evaluated at a time: log densities take (rows, k, d) differences
MERGED_ROWS = 1 << 14  # rows compared at a time when duplicates are merged


def as_rows(x: Any, weights: Any = None, labels: Any = None, model: Any = None) -> Rows:
    """`x` as `Rows` in the order of columns and categories that `model` was fitted to.

    Args:
        x: (n, d) any table that `Rows` takes, or `Rows`, which then bring their own weights and labels.
        weights: (n,) row weights, or None for ones.
        labels: (n,) known components, -1 where unknown, or None.
        model: A model that may remember column names and may take missing values, or None.

    Returns:
        The rows; `x` itself where nothing needs to be changed.

    Raises:
        ValueError: `x` is `Rows` and weights or labels are given too; or the model does not know a column or category.

    Example:
        >>> from lowerbound.data import as_rows
        >>> len(as_rows([[1.0, 2.0], [3.0, 4.0]], weights=[1, 3]))
        2
    """
    if not isinstance(x, Rows):
        schema, table = remembered_schema(model), as_table(x)
        table = table if schema is None else table.conformed(schema)
        _refuse_categories_of(table, model)
        return Rows(table, weights, labels, missing=takes_missing(model))
    if weights is not None or labels is not None:
        raise ValueError("got Rows together with weights or labels, expected them inside: Rows(x, weights, labels)")
    return x.conformed(model)


class Rows(TableStatistics):
    """A table with row weights and labels that is read chunk by chunk: what the engines loop over.

    Only one chunk at a time is converted, so memory does not grow with the number of rows. For a file, a thread reads
    the next chunk while the present one is used.

    Args:
        x: (n, d) the table: tensor, NumPy or memory-mapped array, nested list, DataFrame (category columns are read as
            codes, in the order of `.cat.categories`), Dataset, DataLoader (its batches are then the chunks), or the
            path of a .npy file, a Parquet file or a folder of Parquet files.
        weights: (n,) row weights, at least 0, or None for ones. A row of weight 2 counts as two rows.
        labels: (n,) known components 0, 1, ..., -1 where unknown, or None.
        dtype: The dtype of the chunks.
        missing: Whether NaN stands for a missing value. Otherwise NaN is an error.

    Raises:
        TypeError: x is not a table of real numbers.
        ValueError: x has no rows, weights or labels do not fit, or they are given with a DataLoader.

    Example:
        >>> from lowerbound.data import Rows
        >>> rows = Rows([[1.0, 2.0], [3.0, 6.0]], weights=[1, 3])
        >>> len(rows), rows.features, rows.total_weight
        (2, 2, 4.0)
        >>> rows.spread.mean
        tensor([2.5000, 5.0000], dtype=torch.float64)
    """

    processes = 1  # how many processes share the table, each reading a part of it

    def conformed(self, model: Any) -> Rows:
        """These rows in the order of columns and categories that `model` was fitted to; themselves if they are."""
        schema, missing = remembered_schema(model), self._missing if model is None else takes_missing(model)
        table = self._table if schema is None else self._table.conformed(schema)
        _refuse_categories_of(table, model)
        if table is self._table and missing == self._missing:
            return self
        return Rows(table, self.weights, self.labels, dtype=self._dtype, missing=missing)

    def with_schema(self, schema: Schema) -> Rows:
        """The columns of these rows that a schema names, in its order and with its codes."""
        table = NamedTable(self._table) if self.schema is None else self._table
        return Rows(table.conformed(schema), self.weights, self.labels, dtype=self._dtype, missing=self._missing)

    def weighted(self, weights: Any) -> Rows:
        """The same rows with other weights (n,): a bootstrap resample, or a fold of cross-validation."""
        return Rows(self._table, weights, self.labels, dtype=self._dtype, missing=self._missing)

    def part(self, start: int, stop: int) -> Rows:
        """Rows start .. stop - 1 with their weights, which may all be zero, and labels. No other row is read.

        Row numbers in errors and in `Chunk.numbers` are those of the whole table. Raises TypeError for a DataLoader,
        whose rows have no numbers, and ValueError unless 0 <= start < stop <= len(rows).
        """
        if not 0 <= start < stop <= self._n:
            raise ValueError(f"got rows {start} to {stop} of {self._n}, expected 0 <= start < stop <= {self._n}")
        part = Rows(self._table.part(start, stop), dtype=self._dtype, missing=self._missing)
        part.weights = None if self.weights is None else self.weights[start:stop]
        part.labels = None if self.labels is None else self.labels[start:stop]
        return part

    @property
    def levels(self) -> list[list[str] | None]:
        """For each column of categories their names in the order of their codes; None for a column of numbers."""
        known = (self.schema or Schema.plain(self.features)).levels
        return [None if words is None else list(words) for words in known]

    @property
    def table(self) -> Any:
        """All rows as they were passed, in memory: a DataFrame, array or tensor."""
        return self._table.read_all()

    @property
    def here(self) -> int:
        """How many rows `chunks` gives: fewer than `positive` if other processes read the rest."""
        return self.positive

    @property
    def whole(self) -> Chunk | None:
        """All rows of positive weight in one chunk; None where that would copy more than `chunks` does at a time."""
        if not (self.in_memory and self.is_fixed):
            return None
        first = next(self.chunks(self._n if self._table.is_zero_copy and self.weights is None else None))
        return first if len(first.x) == self.here else None

    def steps(self, size: int) -> int:
        """How many `batches` of this size there are."""
        return -(-self.positive // size)

    @cached_property
    def merged(self) -> Rows:
        """The distinct rows, with the summed weights of their duplicates; these rows themselves if that saves little.

        Duplicates have equal values (NaN equals NaN) and labels. They are merged only in a table in memory, if at most
        half as many rows remain and these are few enough to hold.
        """
        table, found = self._table, None
        if table.in_memory and not (table.is_fixed and table.is_random_access and self._sample_is_distinct()):
            found = merge_duplicates(self._unfiltered_chunks(MERGED_ROWS), self._n)
        if found is None:
            return self
        return Rows(found.x, found.weights, found.labels, dtype=self._dtype, missing=self._missing)

    def _sample_is_distinct(self) -> bool:
        """Whether a sample has no row twice, which says that far more than half of all rows are distinct."""
        sample = sample_for_duplicates(self._n)
        return sample is not None and all_distinct(self._read(sample))


def _refuse_categories_of(table: Table, model: Any) -> None:
    """Raise ValueError if a column of categories of this table stands where the model has numbers."""
    if table.schema is not None:
        refuse_categories(table.schema.columns, (words is not None for words in table.schema.levels), model)
