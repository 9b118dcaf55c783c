"""The report: a folder with one HTML page, its figures as PNG files and its numbers as CSV files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from ...data.write_files import require_writable, write_folder
from ...models import BayesianMixture
from ..criticism.aligned_components import component_tables
from ..criticism.comparison import Comparison
from ..criticism.to_arviz import to_arviz
from ..fitting.result_checks import require_made_by
from .html import GENERATOR, html_page
from .plots.comparison_figures import figures
from .png import png
from .report_page import report_body

# all files that a report may have; the page comes last, so that it never refers to a file that is not yet there
FILES = (
    "data.png", "samples.png", "profiles.png", "reconstructions.png", "latent.png", "posteriors.png", "bounds.png",
    "responsibilities.png", "comparison.csv", "pairs.csv", "components.csv", "posterior.nc", "index.html",
)  # fmt: skip


def write_report(comparison: Comparison, out: str | Path, title: str = "Comparison of fits") -> Path:
    """Write the report of a comparison to a folder: a page with tables and figures, and their numbers as CSV files.

    The folder holds index.html (without scripts, with the images inside), a file NAME.png for each figure NAME of
    `lowerbound.inference.plots.figures`, comparison.csv (`Comparison.frame()`), pairs.csv (`Comparison.pairs()`) and,
    if some fit has components, components.csv with one line for each component of each fit. If some fit is of a
    `BayesianMixture`, posterior.nc holds its draws for `arviz.from_netcdf`: those of `to_arviz`, without replicated
    data, of the last fit by a sampler, else of the last fit with a posterior.

    All files are written completely or not at all. An earlier report in `out` is replaced; other files there are kept.

    Args:
        comparison: What `compare` returns.
        out: Path of the folder, which is made if it does not exist.
        title: Heading of the page.

    Returns:
        The path of index.html.

    Raises:
        TypeError: `comparison` is no `Comparison`.
        OSError: `out` cannot be written, or holds files of these names that do not belong to a report.

    Example:
        >>> import tempfile
        >>> from lowerbound import datasets
        >>> from lowerbound.inference import EM, compare, fit
        >>> from lowerbound.models import GaussianMixture
        >>> x = datasets.load("faithful")
        >>> comparison = compare(x, em=fit(GaussianMixture(2, 2), x, EM(), max_passes=3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     index = write_report(comparison, f"{folder}/report", title="Old Faithful")
        ...     print(index.name, sorted(path.name for path in index.parent.glob("*.csv")))
        index.html ['comparison.csv', 'components.csv', 'pairs.csv']
    """
    require_made_by("compare()", Comparison, comparison=comparison)
    out = Path(out)
    require_report_folder(out)
    drawn = figures(comparison)
    images = {name: png(figure) for name, figure in drawn.items()}
    texts = {name: (figure.get_suptitle(), str(figure.get_label())) for name, figure in drawn.items()}
    files = {f"{name}.png": data for name, data in images.items()}
    files["comparison.csv"] = comparison.frame().to_csv(lineterminator="\n").encode()
    files["pairs.csv"] = comparison.pairs().to_csv(index=False, lineterminator="\n").encode()
    tables = component_tables(comparison)
    if tables:
        files["components.csv"] = pd.concat(tables).to_csv(lineterminator="\n").encode()
    name = _with_posterior(comparison)
    if name is not None:
        files["posterior.nc"] = _netcdf(to_arviz(comparison.fits[name], comparison.x, posterior_predictive=False))
    files["index.html"] = html_page(title, report_body(comparison, tables, images, texts, name)).encode(
        errors="backslashreplace"  # of the name of a file that is not UTF-8
    )
    write_folder(out, files, FILES)
    return out / "index.html"


def require_report_folder(out: str | Path) -> None:
    """Raise OSError, in one sentence, if a report cannot be written to the folder `out`. Creates nothing."""
    out = Path(out)
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"cannot write the report to {out}: {there} is a file, expected a folder")
    require_writable(there, f"cannot write the report to {out}")
    taken = [name for name in FILES if (out / name).exists()]
    if taken and not _is_report(out / "index.html"):
        raise FileExistsError(
            f"cannot write the report to {out}: it holds {taken[0]}, which is not of a report: choose another folder"
        )


def _is_report(index: Path) -> bool:
    """Whether a page is that of an earlier report."""
    return index.is_file() and GENERATOR.encode() in index.read_bytes()[:1000]


def _with_posterior(comparison: Comparison) -> str | None:
    """The fit whose draws the report keeps: the last by a sampler, else the last with a posterior; None without one."""
    models = {name: fit.model for name, fit in comparison.fits.items()}
    posteriors = [n for n, model in models.items() if isinstance(model, BayesianMixture) and not model.is_point]
    sampled = [n for n in posteriors if models[n].is_sampled]
    return (sampled or posteriors or [None])[-1]


def _netcdf(data: Any) -> bytes:
    """A posterior as the bytes of a NetCDF file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "posterior.nc"
        data.to_netcdf(str(path), engine="h5netcdf")
        return path.read_bytes()
