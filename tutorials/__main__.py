"""Run every tutorial and write its notebook anew: `python -m tutorials`, after a change to one of the .py files."""

from __future__ import annotations

import base64
import io
import os
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

MOST_PICTURES = 480 * 1024  # bytes of base64 in a notebook, which is text under version control
HERE = Path(__file__).resolve().parent


def scripts() -> list[Path]:
    """The tutorials: percent scripts whose names begin with their number."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def execute(script: Path, last: str = "") -> nbformat.NotebookNode:
    """The notebook of a script, run from top to bottom in a fresh kernel; `last` is the code of one more cell."""
    notebook = jupytext.read(script)
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i}"  # not random: the same script gives the same file
    if last:
        notebook.cells.append(nbformat.v4.new_code_cell(last, id="last"))
    # one thread: the same bits on every machine, and no waiting on a busy one
    kernel = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    kernel["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    kernel["PYTHONWARNINGS"] = "ignore:IProgress not found"  # Pyro asks tqdm for a widget; no tutorial shows one
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": HERE.parent}})
    return client.execute(env=kernel)


def shrink_pictures(notebook: nbformat.NotebookNode, most: int) -> None:
    """Reduce pictures to 256 colours, the largest first, until all of them together have at most so many bytes.

    The others keep their full colours. 256 are enough for lines and text; a colour bar may show steps.
    """
    data = [output["data"] for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    pictures = [each for each in data if "image/png" in each]
    for each in pictures:
        each["image/png"] = _encoded(_decoded(each["image/png"]).convert("RGB"))
    for each in sorted(pictures, key=lambda each: len(each["image/png"]), reverse=True):
        if sum(len(picture["image/png"]) for picture in pictures) <= most:
            return
        fewer = _decoded(each["image/png"]).quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        each["image/png"] = _encoded(fewer)


def _decoded(png: str) -> Image.Image:
    """The picture in a base64 PNG."""
    return Image.open(io.BytesIO(base64.b64decode(png)))


def _encoded(image: Image.Image) -> str:
    """A picture as a base64 PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def write(script: Path) -> None:
    """Execute one tutorial and write its notebook beside it, without what changes from run to run."""
    notebook = execute(script)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
    shrink_pictures(notebook, MOST_PICTURES)
    notebook.metadata = jupytext.read(script).metadata
    nbformat.write(notebook, script.with_suffix(".ipynb"))


if __name__ == "__main__":
    for path in scripts():
        print(path.name, file=sys.stderr)
        write(path)
