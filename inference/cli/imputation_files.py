"""The two files of `lowerbound impute`: the completed table, and the uncertainty of each value filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ...data.input_checks import is_category
from ...models import Imputed, Rows
from ..criticism.describe_model import describe_model
from ..fitting.fit_result import Fit
from ..report.output_folder import require_writable
from ..report.summary_lines import missing_summary, restarts_summary
from ..report.text_table import format_number

KINDS = (".csv", ".parquet")


def uncertainty_file(out: Path) -> Path:
    """The file for the uncertainties of the table `out`: filled.uncertainty.csv for filled.csv."""
    return out.with_name(f"{out.stem}.uncertainty{out.suffix}")


def require_output_files(out: Path, data: str) -> None:
    """Raise OSError or ValueError, in one sentence, if the files cannot be written or would replace the data."""
    if out.suffix.lower() not in KINDS:
        raise ValueError(f"--out is {str(out)!r}, expected a file that ends in {' or '.join(KINDS)}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"cannot write {out}: there is no folder {out.parent}")
    for path in (out, uncertainty_file(out)):
        if path.is_dir():
            raise IsADirectoryError(f"cannot write {path}: it is a folder, expected a file")
        if path.exists() and Path(data).exists() and path.samefile(data):
            raise FileExistsError(f"cannot write {path}: it holds the data, choose another name for --out")
    require_writable(out.parent, f"cannot write {out}")


def write_imputed(imputed: Imputed, table: Any, out: Path) -> None:
    """Write the completed table to `out` and the uncertainties beside it. Columns that were left out stay in it."""
    whole = completed(imputed.frame(), table)
    for frame, path in ((whole, out), (imputed.uncertainty_frame(), uncertainty_file(out))):
        if path.suffix.lower() == ".csv":
            frame.to_csv(path, index=False, lineterminator="\n")
        else:
            frame.to_parquet(path, index=False)


def completed(frame: pd.DataFrame, table: Any) -> pd.DataFrame:
    """The filled columns in their places among all columns of the table, numbers that were categories as numbers."""
    if not isinstance(table, pd.DataFrame):
        return frame
    filled = table.copy()
    for name in frame:
        column, kind = frame[name], table[name].dtype
        is_number = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
        filled[name] = (
            pd.to_numeric(column.astype(str)).astype(kind) if is_category(column.dtype) and is_number else column
        )
    return filled


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
