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


def smaller(png: str) -> str:
    """A base64 PNG in 64 colours, which is a third of the size and looks the same."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def write(script: Path) -> None:
    """Execute one tutorial and write its notebook beside it, without what changes from run to run."""
    notebook = execute(script)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    notebook.metadata = jupytext.read(script).metadata
    nbformat.write(notebook, script.with_suffix(".ipynb"))


if __name__ == "__main__":
    for path in scripts():
        print(path.name, file=sys.stderr)
        write(path)
