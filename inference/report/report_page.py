"""The page of a report."""

from __future__ import annotations

import platform
from importlib.metadata import version

import pandas as pd

from ..criticism.comparison import Comparison
from ..criticism.component_summaries import called, written
from .comparison_text import UNMATCHED, omitted_note
from .glossary import GLOSSARY
from .html import html_definitions, html_image, html_paragraph, html_section, html_table
from .score_table import DISTANCES, has_unmatched, pair_lines, score_lines
from .summary_lines import data_summary, restart_count, restarts_summary

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


def report_body(
    comparison: Comparison,
    tables: list[pd.DataFrame],
    images: dict[str, bytes],
    texts: dict[str, tuple[str, str]],
    posterior: str | None,
) -> str:
    names = list(comparison.fits)
    lines, note = score_lines(comparison)
    apart = pair_lines(comparison)
    note_apart = UNMATCHED if has_unmatched(comparison) else ""
    fits = comparison.fits.items()
    parts = [
        html_paragraph(data_summary(comparison), "lead"),
        html_section(
            "Scores",
            html_table(["", *names], lines),
            html_paragraph(note, "quiet"),
            html_table(["between fits", *(title for _, title, _ in DISTANCES)], apart) if apart else "",
            html_paragraph(note_apart, "quiet"),
        ),
        *(_figure_section(name, images, texts) for name in ("data", "samples", "profiles")),
        _components_section(tables),
        *(
            _figure_section(name, images, texts)
            for name in ("reconstructions", "latent", "posteriors", "responsibilities", "bounds")
        ),
        html_section(
            "What was run",
            html_table(
                ["", "model", "engine", "seed"],
                [[name, called(fit.model), repr(fit.engine), str(fit.seed)] for name, fit in fits],
                kind="words",
            ),
            html_table(["", "why it stopped"], [[name, fit.reason] for name, fit in fits], kind="words"),
            html_table(["", "optima found"], [[name, restarts_summary(fit)] for name, fit in fits], kind="words")
            if any(restart_count(fit) > 1 for _, fit in fits)
            else "",
            html_paragraph(", ".join(f"{name} {number}" for name, number in _versions().items()) + ".", "quiet"),
        ),
        html_section("Words", html_definitions(GLOSSARY)),
        html_paragraph(f"Numbers in full: {FULL[bool(tables)]} beside this page.", "quiet"),
        html_paragraph(f"Draws of the parameters of {posterior}, for arviz.from_netcdf: posterior.nc.", "quiet")
        if posterior is not None
        else "",
    ]
    return "\n".join(part for part in parts if part)


def _figure_section(name: str, images: dict[str, bytes], texts: dict[str, tuple[str, str]]) -> str:
    return html_section(SECTIONS[name], html_image(images[name], *texts[name])) if name in images else ""


def _components_section(tables: list[pd.DataFrame]) -> str:
    if not tables:
        return ""
    parts = [html_paragraph(ORDER, "quiet")]
    for frame in tables:
        header, lines, left = written(frame, WIDE, MOST)
        parts.append(html_table(header, lines, headings=header.count("component") + header.count("fit")))
        if left:
            parts.append(html_paragraph(omitted_note(left, "components.csv"), "quiet"))
    return html_section("Components", *parts)


def _versions() -> dict[str, str]:
    from ... import __version__

    packages = {name: version(name) for name in ("torch", "pyro-ppl", "numpy")}
    return {"lowerbound": __version__, "Python": platform.python_version(), **packages}
