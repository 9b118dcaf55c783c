"""The report: a folder with one page that stands alone, its figures as PNG and its numbers as CSV."""

from __future__ import annotations

import io
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ...models import BayesianMixture
from ..criticism.comparison import Comparison
from ..criticism.component_summaries import component_tables
from ..criticism.to_arviz import to_arviz
from .html import GENERATOR, html_page
from .output_folder import require_writable
from .plots.comparison_figures import figures
from .report_page import report_body

# all that a report may hold; the page last, so that it never speaks of what is not there yet
FILES = (
    "data.png", "samples.png", "profiles.png", "reconstructions.png", "latent.png", "posteriors.png", "bounds.png",
    "responsibilities.png", "comparison.csv", "pairs.csv", "components.csv", "posterior.nc", "index.html",
)  # fmt: skip


def write_report(comparison: Comparison, out: str | Path, title: str = "Comparison of fits") -> Path:
    """Write the folder `out` and return the path of its index.html.

    index.html (no scripts, images inside), a NAME.png for each NAME that `figures` gives, comparison.csv
    (`Comparison.frame()`), pairs.csv and components.csv (a line for each component of each fit). If some fit is of a
    `BayesianMixture`, posterior.nc, for `arviz.from_netcdf`: `to_arviz` of the last sampler's, else of the last one,
    without replicated data. All is made beside its place and moved there at the end. An earlier report is replaced and
    other files are left alone. Raises OSError if `out` cannot be written, or holds files of these names that are not a
    report's.
    """
    out = Path(out)
    require_report_folder(out)
    drawn = figures(comparison)
    images = {name: _png(figure) for name, figure in drawn.items()}
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
    files["index.html"] = html_page(title, report_body(comparison, tables, images, texts, name)).encode()
    # inside a folder that exists, for it may be a file system of its own
    scratch = (out if out.is_dir() else out.parent) / f".{out.name}.{uuid.uuid4().hex[:8]}"
    scratch.mkdir(parents=True)
    try:
        for name, content in files.items():
            (scratch / name).write_bytes(content)
        if out.is_dir():
            for name in FILES:
                if name in files:
                    (scratch / name).replace(out / name)
                else:
                    (out / name).unlink(missing_ok=True)
        else:
            scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return out / "index.html"


def require_report_folder(out: str | Path) -> None:
    """Raise OSError, in one sentence, if a report cannot be written to the folder `out`; leaves nothing behind."""
    out = Path(out)
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"cannot write the report to {out}: {there} is a file, expected a folder")
    require_writable(there, f"cannot write the report to {out}")
    taken = [name for name in FILES if (out / name).exists()]
    if taken and not _is_report(out / "index.html"):
        raise FileExistsError(
            f"cannot write the report to {out}: it holds {taken[0]}, not of a report: choose another folder"
        )


def _is_report(index: Path) -> bool:
    return index.is_file() and GENERATOR.encode() in index.read_bytes()[:1000]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()


def _with_posterior(comparison: Comparison) -> str | None:
    """The name of the fit of which there are draws to be kept; None if no fit has a posterior."""
    models = {name: fit.model for name, fit in comparison.fits.items()}
    drawn = [n for n, model in models.items() if isinstance(model, BayesianMixture) and not model.is_point]
    sampled = [n for n in drawn if models[n].is_sampled]
    return (sampled or drawn or [None])[-1]


def _netcdf(data: Any) -> bytes:
    """A posterior as the bytes of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "posterior.nc"
        data.to_netcdf(str(path), engine="h5netcdf")
        return path.read_bytes()
