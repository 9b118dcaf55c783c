"""The two files of `lowerbound impute`: the completed table, and the uncertainty of each value filled in.

A hidden file beside them holds their digests. By these a later run knows that it may replace them: they are its own,
and nobody has changed them since.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pandas as pd

from ...data.input_checks import is_category
from ...data.write_files import write_files
from ...models import Imputed, Rows
from ..criticism.describe_model import describe_model
from ..fitting.fit_result import Fit
from ..report.summary_lines import missing_summary, restarts_summary
from ..report.text_table import format_number
from .output_files import require_output_file

KINDS = (".csv", ".parquet")


def uncertainty_file(out: Path) -> Path:
    """The file for the uncertainties of the table `out`: filled.uncertainty.csv for filled.csv."""
    return out.with_name(f"{out.stem}.uncertainty{out.suffix}")


def digest_file(out: Path) -> Path:
    """The file for the digests of both: .filled.csv.lowerbound-impute for filled.csv."""
    return out.with_name(f".{out.name}.lowerbound-impute")


def require_output_files(out: Path, data: str) -> None:
    """Raise OSError or ValueError, in one sentence, if the files cannot be written or would replace another file."""
    if out.suffix.lower() not in KINDS:
        raise ValueError(f"--out is {str(out)!r}, expected a file that ends in {' or '.join(KINDS)}")
    written = digest_file(out)
    digests = written.read_bytes().split() if written.is_file() else []
    for path in (out, uncertainty_file(out)):
        require_output_file(
            path,
            data,
            lambda place: _digest(place.read_bytes()) in digests,
            "a table of lowerbound impute with its uncertainties, as it was written",
        )


def write_imputed(imputed: Imputed, table: Any, out: Path) -> None:
    """Write the completed table to `out` and the uncertainties beside it. Columns that were left out stay in it."""
    is_csv = out.suffix.lower() == ".csv"
    tables = {out: completed(imputed.frame(), table), uncertainty_file(out): imputed.uncertainty_frame()}
    files = {path: _csv(each) if is_csv else _parquet(each) for path, each in tables.items()}
    digests = b"".join(_digest(content) + b"\n" for content in files.values())
    write_files(files | {digest_file(out): digests})


def completed(frame: pd.DataFrame, table: Any) -> pd.DataFrame:
    """The filled columns in their places among all columns of the table, numbers that were categories as numbers."""
    if not isinstance(table, pd.DataFrame):
        return frame
    filled = table.copy()
    for name in frame:
        column, kind = frame[name], table[name].dtype
        is_number = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
        if is_category(column.dtype) and is_number:
            column = pd.Series(pd.to_numeric(column.astype(str)), dtype=kind)
        filled[name] = column
    return filled


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, write_page_checksum=True)
    return buffer.getvalue()


def imputation_summary(fitted: Fit, rows: Rows, imputed: Imputed) -> str:
    """How many values were missing, which fit filled them in, and for each column their number and uncertainty."""
    counts = imputed.table.isna().sum()
    mean = imputed.uncertainty_frame().sum() / counts
    lines = [
        f"  {name}: {count} value{'s' * (count > 1)}, uncertainty {format_number(each, '{:.3g}')} on average"
        for name, count, each in zip(imputed.table.columns, counts, mean, strict=True)
        if count
    ]
    return "\n".join(
        [
            f"{len(rows)} rows, {rows.features} columns; {missing_summary(rows)}",
            f"{describe_model(fitted.model)}, {fitted.reason}; {restarts_summary(fitted)}",
            *lines,
        ]
    )
