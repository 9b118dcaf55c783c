"""A table with its missing cells filled in by a fit, and how uncertain each of them is, as two files."""

from __future__ import annotations

from pathlib import Path

from ...models import Imputed, Rows
from ..criticism.describe_model import describe_model
from ..fitting.fit_result import Fit
from ..report.comparison_text import gaps, number, optima
from ..report.write_report import probe

KINDS = (".csv", ".parquet")


def uncertainty_file(out: Path) -> Path:
    """Where the uncertainties of the table `out` are written: filled.uncertainty.csv beside filled.csv."""
    return out.with_name(f"{out.stem}.uncertainty{out.suffix}")


def check_place(out: Path, data: str) -> None:
    """Raise OSError or ValueError, in one sentence, if the tables cannot be written, or would replace the data."""
    if out.suffix.lower() not in KINDS:
        raise ValueError(f"--out is {str(out)!r}, expected a file that ends in {' or '.join(KINDS)}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"cannot write {out}: there is no folder {out.parent}")
    for path in (out, uncertainty_file(out)):
        if path.is_dir():
            raise IsADirectoryError(f"cannot write {path}: it is a folder, expected a file")
        if path.exists() and Path(data).exists() and path.samefile(data):
            raise FileExistsError(f"cannot write {path}: it holds the data, choose another name for --out")
    probe(out.parent, f"cannot write {out}")


def write_imputed(found: Imputed, out: Path) -> None:
    """Write the completed table to `out` and the uncertainties beside it."""
    for table, path in ((found.frame(), out), (found.uncertainty_frame(), uncertainty_file(out))):
        if path.suffix.lower() == ".csv":
            table.to_csv(path, index=False, lineterminator="\n")
        else:
            table.to_parquet(path, index=False)


def summary(fitted: Fit, rows: Rows, found: Imputed) -> str:
    """How much was missing, by which fit it was filled in, and of each column how many cells and how uncertain."""
    counts = found.table.isna().sum()
    mean = found.uncertainty_frame().sum() / counts
    lines = [
        f"  {name}: {count} cell{'s' * (count > 1)}, uncertainty {number(each, '{:.3g}')} on average"
        for name, count, each in zip(found.table.columns, counts, mean, strict=True)
        if count
    ]
    return "\n".join(
        [
            f"{len(rows)} rows, {rows.features} columns; {gaps(rows)}",
            f"{describe_model(fitted.model)}, {fitted.reason}; {optima(fitted)}",
            *lines,
        ]
    )
