"""The report: a folder with one page that stands alone, its figures as PNG and its numbers as CSV."""

from __future__ import annotations

import io
import platform
import shutil
import tempfile
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ...models import BayesianMixture
from ..criticism.aligned_components import component_tables
from ..criticism.comparison import Comparison
from ..criticism.describe_model import describe_model
from ..criticism.to_arviz import to_arviz
from .comparison_text import DISTANCES, UNMATCHED, heading, left_out, optima, pairs, restarts, scores, unmatched
from .format_components import format_components
from .html import GENERATOR, glossary, page, paragraph, picture, section, table
from .plots import figures

# all that a report may hold; the page last, so that it never speaks of what is not there yet
FILES = (
    "data.png", "samples.png", "profiles.png", "reconstructions.png", "latent.png", "posteriors.png", "bounds.png",
    "responsibilities.png", "comparison.csv", "pairs.csv", "components.csv", "posterior.nc", "index.html",
)  # fmt: skip
SECTIONS = {
    "data": "The data and the components",
    "samples": "Rows drawn from each model",
    "profiles": "What the components are",
    "reconstructions": "What the latent variables keep of a row",
    "latent": "The rows among the latent variables",
    "posteriors": "What is known of the parameters",
    "responsibilities": "The rows",
    "bounds": "The way up",
}
FULL = {False: "comparison.csv and pairs.csv", True: "comparison.csv, pairs.csv and components.csv"}
ORDER = "In decreasing weight; fits in one table are matched, component by component. In the units of the data."
WIDE = 120  # characters that stand side by side on a page
MOST = 30  # numbers of a component that its table has
GLOSSARY = {
    "nats": "Natural units of information: differences of natural logarithms. 1 nat is 1.44 bits.",
    "log-likelihood": "Sum over rows of log p(x) under the fit. Higher is better, but more parameters always help.",
    "ELBO": "Evidence lower bound: what every engine raises (plus the log prior, if any). Log-likelihood = ELBO + gap.",
    "gap": "KL(q, posterior): what the ELBO loses because q is not the exact posterior. 0 to rounding if it is.",
    "its standard error": "Of a log-likelihood without closed form, from the draws of the latent variables that weigh "
    "it; it is then a little low, by half the square of the error per row.",
    "log prior or -KL of theta": "Log density of the parameters theta under their prior; of a posterior over them "
    "-KL(q(theta), prior).",
    "bound of log evidence": "ELBO - KL of a posterior q over the parameters theta, of all its relabellings together: "
    "below log p(all rows) by what q is from the posterior. It ranks models of any size under like priors.",
    "Pareto k": "Whether draws of q(theta), weighed, stand for the posterior: up to 0.5 yes, up to 0.7 roughly. "
    "It cannot see where q never goes; the sampler can.",
    "s.d. of theta": "Geometric mean over all parameters of q's standard deviation over the sampler's: below 1 where q "
    "is too sure.",
    "held out": "The same, per row, of rows that no fit has seen: what ranks models of any size.",
    "BIC": "Bayesian information criterion, -2 log-likelihood + parameters times log(rows). Lower is better.",
    "gradient norm": "Slope of the bound in nats per row at the end, in units of the data. 0 at an optimum.",
    "parameter distance": "Largest difference of any parameter once components are matched: probabilities as they "
    "are, locations in standard deviations of the data, scales in logarithms.",
    "mean posterior KL": "Mean over rows of KL between the two fits' component probabilities. 0 if they agree.",
}


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
    check_writable(out)
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
    files["index.html"] = page(title, _body(comparison, tables, images, texts, name)).encode()
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


def check_writable(out: str | Path) -> None:
    """Raise OSError, in one sentence, if a report cannot be written to the folder `out`; leaves nothing behind."""
    out = Path(out)
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"cannot write the report to {out}: {there} is a file, expected a folder")
    probe(there, f"cannot write the report to {out}")
    taken = [name for name in FILES if (out / name).exists()]
    if taken and not _is_report(out / "index.html"):
        raise FileExistsError(
            f"cannot write the report to {out}: it holds {taken[0]}, not of a report: choose another folder"
        )


def probe(folder: Path, complaint: str) -> None:
    """Raise OSError, "complaint: why", if nothing can be written to a folder that exists."""
    trial = folder / f".lowerbound.{uuid.uuid4().hex[:8]}"
    try:
        trial.mkdir()  # asked of the file system itself: permission bits say nothing to root or to a read-only disk
        trial.rmdir()
    except OSError as error:
        raise type(error)(f"{complaint}: {error.strerror or error}") from error


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


def _body(
    comparison: Comparison,
    tables: list[pd.DataFrame],
    images: dict[str, bytes],
    texts: dict[str, tuple[str, str]],
    posterior: str | None,
) -> str:
    names = list(comparison.fits)
    lines, note = scores(comparison)
    apart = pairs(comparison)
    note_apart = UNMATCHED if unmatched(comparison) else ""
    fits = comparison.fits.items()
    parts = [
        paragraph(heading(comparison), "lead"),
        section(
            "Scores",
            table(["", *names], lines),
            paragraph(note, "quiet"),
            table(["between fits", *(title for _, title, _ in DISTANCES)], apart) if apart else "",
            paragraph(note_apart, "quiet"),
        ),
        *(_figure(name, images, texts) for name in ("data", "samples", "profiles")),
        _components(tables),
        *(
            _figure(name, images, texts)
            for name in ("reconstructions", "latent", "posteriors", "responsibilities", "bounds")
        ),
        section(
            "What was run",
            table(
                ["", "model", "engine", "seed"],
                [[name, describe_model(fit.model), repr(fit.engine), str(fit.seed)] for name, fit in fits],
                kind="words",
            ),
            table(["", "why it stopped"], [[name, fit.reason] for name, fit in fits], kind="words"),
            table(["", "optima found"], [[name, optima(fit)] for name, fit in fits], kind="words")
            if any(restarts(fit) > 1 for _, fit in fits)
            else "",
            paragraph(", ".join(f"{name} {number}" for name, number in _versions().items()) + ".", "quiet"),
        ),
        section("Words", glossary(GLOSSARY)),
        paragraph(f"Numbers in full: {FULL[bool(tables)]} beside this page.", "quiet"),
        paragraph(f"Draws of the parameters of {posterior}, for arviz.from_netcdf: posterior.nc.", "quiet")
        if posterior is not None
        else "",
    ]
    return "\n".join(part for part in parts if part)


def _figure(name: str, images: dict[str, bytes], texts: dict[str, tuple[str, str]]) -> str:
    return section(SECTIONS[name], picture(images[name], *texts[name])) if name in images else ""


def _components(tables: list[pd.DataFrame]) -> str:
    if not tables:
        return ""
    parts = [paragraph(ORDER, "quiet")]
    for frame in tables:
        header, lines, left = format_components(frame, WIDE, MOST)
        parts.append(table(header, lines, headings=header.count("component") + header.count("fit")))
        if left:
            parts.append(paragraph(left_out(left, "components.csv"), "quiet"))
    return section("Components", *parts)


def _versions() -> dict[str, str]:
    from ... import __version__

    packages = {name: version(name) for name in ("torch", "pyro-ppl", "numpy")}
    return {"lowerbound": __version__, "Python": platform.python_version(), **packages}
