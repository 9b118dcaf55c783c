"""The page of a report: its sections, tables and figures."""

from __future__ import annotations

import platform
from importlib.metadata import version

import pandas as pd

from ... import __version__
from ..criticism.comparison import Comparison
from ..criticism.describe_model import describe_model
from .comparison_text import SPURIOUS, UNMATCHED, omitted_note
from .format_components import format_components
from .glossary import GLOSSARY
from .html import html_definitions, html_image, html_paragraph, html_section, html_table
from .score_table import DISTANCES, has_unmatched, pair_lines, score_lines
from .summary_lines import data_summary, restart_count, restarts_summary

SECTIONS = {
    "data": "The data and the components",
    "samples": "Rows drawn from each model",
    "profiles": "Parameters of the components",
    "reconstructions": "Reconstructions of rows",
    "latent": "Rows in the latent space",
    "posteriors": "Posteriors of the parameters",
    "responsibilities": "Responsibilities",
    "bounds": "Convergence of the bound",
}
FULL = {False: "comparison.csv and pairs.csv", True: "comparison.csv, pairs.csv and components.csv"}
ORDER = "Components are in decreasing order of weight, matched between the fits of a table, in the units of the data."
PAGE_WIDTH = 120  # characters of a table; a wider one has a line for each number
MOST_NUMBERS = 30  # of a component


def report_body(
    comparison: Comparison,
    tables: list[pd.DataFrame],
    images: dict[str, bytes],
    texts: dict[str, tuple[str, str]],
    posterior: str | None,
) -> str:
    """The body of the page.

    tables: those of `component_tables`. images: PNG bytes by the name of the figure; texts: title and caption.
    posterior: the fit whose draws are in posterior.nc, if there are some.
    """
    names = list(comparison.fits)
    lines, note = score_lines(comparison)
    distances = pair_lines(comparison)
    unmatched = UNMATCHED if has_unmatched(comparison) else ""
    fits = comparison.fits.items()
    parts = [
        html_paragraph(data_summary(comparison), "lead"),
        html_section(
            "Scores",
            html_table(["", *names], lines),
            html_paragraph(note, "quiet"),
            html_table(["between fits", *(title for _, title, _ in DISTANCES)], distances) if distances else "",
            html_paragraph(unmatched, "quiet"),
        ),
        *(_figure_section(name, images, texts) for name in ("data", "samples", "profiles")),
        _components_section(tables),
        *(
            _figure_section(name, images, texts)
            for name in ("reconstructions", "latent", "posteriors", "responsibilities", "bounds")
        ),
        html_section(
            "Models and engines",
            html_table(
                ["", "model", "engine", "seed"],
                [[name, describe_model(fit.model), repr(fit.engine), str(fit.seed)] for name, fit in fits],
                kind="words",
            ),
            html_table(["", "why it stopped"], [[name, fit.reason] for name, fit in fits], kind="words"),
            html_table(
                ["", SPURIOUS.lower()], [[n, "; ".join(fit.doubts)] for n, fit in fits if fit.doubts], kind="words"
            )
            if any(fit.doubts for _, fit in fits)
            else "",
            html_table(["", "optima found"], [[name, restarts_summary(fit)] for name, fit in fits], kind="words")
            if any(restart_count(fit) > 1 for _, fit in fits)
            else "",
            html_paragraph(", ".join(f"{name} {number}" for name, number in _versions().items()) + ".", "quiet"),
        ),
        html_section("Glossary", html_definitions(GLOSSARY)),
        html_paragraph(f"All digits of these numbers: {FULL[bool(tables)]}, in the folder of this page.", "quiet"),
        html_paragraph(f"Draws of the parameters of {posterior}: posterior.nc, which arviz.from_netcdf reads.", "quiet")
        if posterior is not None
        else "",
    ]
    return "\n".join(part for part in parts if part)


def _figure_section(name: str, images: dict[str, bytes], texts: dict[str, tuple[str, str]]) -> str:
    """The section of one figure; empty if the report does not have it."""
    return html_section(SECTIONS[name], html_image(images[name], *texts[name])) if name in images else ""


def _components_section(tables: list[pd.DataFrame]) -> str:
    """The section with the tables of components; empty if there are none."""
    if not tables:
        return ""
    parts = [html_paragraph(ORDER, "quiet")]
    for frame in tables:
        header, lines, left = format_components(frame, PAGE_WIDTH, MOST_NUMBERS)
        parts.append(html_table(header, lines, headings=header.count("component") + header.count("fit")))
        if left:
            parts.append(html_paragraph(omitted_note(left, "components.csv"), "quiet"))
    return html_section("Components", *parts)


def _versions() -> dict[str, str]:
    """The versions of the package and of what it computes with."""
    packages = {name: version(name) for name in ("torch", "pyro-ppl", "numpy")}
    return {"lowerbound": __version__, "Python": platform.python_version(), **packages}
