"""Ours beside others, in one run: `python -m benchmarks`, or `python -m benchmarks gaussian kmeans`.

Prints a table, and writes it as JSON with a picture to benchmarks/results/. README.md beside this file says what is
measured and how. A target that is missed says so and stops nothing.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from threadpoolctl import threadpool_limits

from benchmarks import report
from benchmarks.machine import machine
from benchmarks.rows import Row, missing, read

# modules of this folder whose `results()` is a list of rows, or of dicts that `rows.read` makes into rows
SECTIONS = (
    "jobs", "kmeans_jobs", "gaussian", "gemm", "memory", "bayes", "classes", "kmeans", "convergence", "squarem",
    "merged_rows", "vae", "svi_step", "distributed",
)  # fmt: skip
FOLDER = Path(__file__).parent / "results"


def measured(section: str) -> list[Row]:
    """The rows of a section."""
    module = importlib.import_module(f"benchmarks.{section}")
    return [replace(row if isinstance(row, Row) else read(row), section=section) for row in module.results()]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 0 whatever the ratios are, 1 if a section failed: what it compares was not the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default all)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side (default 2)")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"got {unknown[0]!r}, expected sections of {', '.join(SECTIONS)}")
    console = Console(width=max(160, Console().width))
    torch.set_num_threads(options.threads)
    rows: list[Row] = []
    failed: dict[str, str] = {}
    with threadpool_limits(options.threads):
        about = machine(options.threads)
        console.print(about["text"], highlight=False)
        if about["busy"]:
            console.print("the machine is busy: threads wait for one another, and ratios scatter", style="red")
        began = time.perf_counter()
        for section in options.sections or SECTIONS:
            start = time.perf_counter()
            try:
                rows += measured(section)
            except ImportError as error:
                rows.append(replace(missing(section, "", "", f"not installed: {error}"), section=section))
            except Exception as error:  # one section that fails must not cost the others
                failed[section] = f"{type(error).__name__}: {error}"
                rows.append(replace(missing(section, "", "", failed[section]), section=section))
            console.print(f"{section}: {time.perf_counter() - start:.0f} s", style="dim", highlight=False)
        seconds = time.perf_counter() - began
    shown, notes = report.table(rows)
    console.print(shown)
    for note in notes:
        console.print(note, highlight=False, markup=False)
    console.print(f"{report.verdict(rows)} ({seconds / 60:.1f} minutes)", highlight=False)
    stem = FOLDER / ("part" if options.sections else about["date"][:10])
    report.write(stem.with_suffix(".json"), about, rows, failed, seconds)
    report.picture(rows, about).savefig(stem.with_suffix(".png"), dpi=150)
    for suffix in (".json", ".png"):
        if not options.sections:
            shutil.copyfile(stem.with_suffix(suffix), FOLDER / f"latest{suffix}")
        console.print(f"written to {os.path.relpath(stem.with_suffix(suffix))}", highlight=False)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
