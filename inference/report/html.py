"""The elements of an HTML page without scripts and without other files, light or dark as the reader's system is."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

GENERATOR = '<meta name="generator" content="lowerbound">'  # by which a later report recognizes this page

STYLE = """
:root { color-scheme: light dark; --line: #8886; --quiet: #666; --card: #8881; }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
.lead { font-size: 1.15rem; } .quiet, figcaption, caption { color: var(--quiet); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, .words td, .words th { text-align: left; }
tbody th { font-weight: normal; text-align: left; white-space: nowrap; } tbody tr:hover { background: var(--card); }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; background: white; border-radius: 6px; box-sizing: border-box; }
@media (max-width: 40rem) { body { margin: 1rem auto; font-size: 15px; } th, td { padding: .3rem .4rem; } }
dt { font-weight: bold; } dd { margin: 0 0 .7rem; }
"""


def html_page(title: str, body: str) -> str:
    """The document."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{GENERATOR}\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def html_section(title: str, *parts: str) -> str:
    """A heading and the parts below it."""
    return "\n".join(["<section>", f"<h2>{escape(title)}</h2>", *(part for part in parts if part), "</section>"])


def html_paragraph(text: str, kind: str = "") -> str:
    """A paragraph; empty without text. kind: a CSS class."""
    return f"<p{_class_attribute(kind)}>{escape(text)}</p>" if text else ""


def html_table(
    header: Sequence[str], lines: Sequence[Sequence[str]], headings: int = 1, caption: str = "", kind=""
) -> str:
    """A table. The first `headings` cells of each line are its headings. kind: a CSS class."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(
        "<tr>"
        + "".join(f'<th scope="row">{escape(cell)}</th>' for cell in line[:headings])
        + "".join(f"<td>{escape(cell)}</td>" for cell in line[headings:])
        + "</tr>"
        for line in lines
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    inner = f"{title}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="wide"><table{_class_attribute(kind)}>{inner}</table></div>'


def html_image(png: bytes, alternative: str, caption: str) -> str:
    """A PNG image inside the page, with a text for readers who cannot see it and a caption."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure>\n<img alt="{escape(alternative)}" src="data:image/png;base64,{data}">\n'
        f"<figcaption>{escape(caption)}</figcaption>\n</figure>"
    )


def html_definitions(words: Mapping[str, str]) -> str:
    """Terms and their definitions."""
    return "<dl>" + "\n".join(f"<dt>{escape(w)}</dt><dd>{escape(m)}</dd>" for w, m in words.items()) + "</dl>"


def _class_attribute(kind: str) -> str:
    """The attribute of a CSS class; empty without one."""
    return f' class="{kind}"' if kind else ""
