"""How much memory a fit takes beyond its data, and whether that grows with them.

Run as `python -m benchmarks.memory`: each measurement is a process of its own. "Beyond the data" is the peak of the
resident memory during the fit less the resident memory just before it, once everything is imported and one small fit
has been made. Figures in MiB.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

MIB = 1 << 20
ROWS, COLUMNS, COMPONENTS, PASSES = 1_000_000, 16, 16, 3
FILE_BYTES = 4 << 30
LONGEST = 900  # seconds
MOST_IN_MEMORY, MOST_ON_FILE, MOST_GROWTH = 64, 1024, 8  # MiB: what is required


# measured: each of these runs in a process of its own


def peak_of(work: Any) -> tuple[float, float]:
    """MiB: resident memory before `work()`, and its peak while that runs."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    work()
    return before, _status("VmHWM")


def _status(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) / 1024


def ours(rows: int, columns: int, components: int, path: str = "") -> dict[str, float]:
    """Our EM over an array in memory, or over a file."""
    from lowerbound.inference import EM, fit
    from lowerbound.models import GaussianMixture

    def work(x: Any) -> None:
        fit(GaussianMixture(components, columns), x, EM(tol=0), max_passes=PASSES)

    small = _normal(2000, columns)
    work(small)
    x = path or _normal(rows, columns)
    before, peak = peak_of(lambda: work(x))
    return {"beyond": peak - before, "peak": peak}


def scikit_learn(rows: int, columns: int, components: int) -> dict[str, float]:
    """scikit-learn's GaussianMixture, begun by k-means++ alone."""
    import warnings

    from sklearn.mixture import GaussianMixture

    warnings.simplefilter("ignore")  # it has not converged

    def work(x: np.ndarray) -> None:
        GaussianMixture(components, max_iter=PASSES, init_params="k-means++", random_state=0).fit(x)

    work(_normal(2000, columns))
    x = _normal(rows, columns)
    before, peak = peak_of(lambda: work(x))
    return {"beyond": peak - before, "peak": peak}


def pomegranate(rows: int, columns: int, components: int) -> dict[str, float]:
    """pomegranate's GeneralMixtureModel of Normal components, begun at rows of the data."""
    import torch
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    def work(x: torch.Tensor) -> None:
        eye = torch.eye(columns, dtype=x.dtype)
        parts = [Normal(row.clone(), eye.clone(), covariance_type="full") for row in x[:components]]
        GeneralMixtureModel(parts, max_iter=PASSES, tol=0).fit(x)

    torch.set_default_dtype(torch.float64)
    work(torch.as_tensor(_normal(2000, columns)))
    x = torch.as_tensor(_normal(rows, columns))
    before, peak = peak_of(lambda: work(x))
    return {"beyond": peak - before, "peak": peak}


def _normal(rows: int, columns: int) -> np.ndarray:
    """Standard normal numbers about a few centres, made without a copy."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, columns))
    x += 3.0 * (np.arange(rows) % 5)[:, None]
    return x


# the table


def apart(function: str, *arguments: Any) -> dict[str, Any]:
    """A measurement in a process of its own; the last line of what went wrong, if something did."""
    call = f"import json; from benchmarks import memory; print(json.dumps(memory.{function}(*{arguments!r})))"
    where = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            [sys.executable, "-c", call], capture_output=True, text=True, cwd=where, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {LONGEST} s"}
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def write_array(path: Path, rows: int, columns: int) -> None:
    """A .npy file of normal numbers, written in pieces: a quarter of a million different rows, again and again."""
    piece = _normal(1 << 18, columns)
    with path.open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (rows, columns)}
        np.lib.format.write_array_header_2_0(file, header)
        for start in range(0, rows, len(piece)):
            piece[: rows - start].tofile(file)


def results(file_bytes: int = FILE_BYTES, rows: int = ROWS) -> list[dict[str, Any]]:
    """One dict for each measurement: what, rows, columns, components, beyond and peak in MiB, most (which of them may
    be how much), ok; or error."""
    lines: list[dict[str, Any]] = []

    def add(what: str, n: int, found: dict[str, Any], of: str = "", most: float | None = None) -> None:
        shape = {"rows": n, "columns": COLUMNS, "components": COMPONENTS}
        required = {"required": f"{of} < {most:g}", "ok": found.get(of, float("inf")) < most} if most else {}
        lines.append({"what": what, **shape, **found, **required})

    shape = (COLUMNS, COMPONENTS)
    add("lowerbound, array in memory", rows, apart("ours", rows, *shape), "beyond", MOST_IN_MEMORY)
    add("scikit-learn, array in memory", rows, apart("scikit_learn", rows, *shape))
    add("pomegranate, array in memory", rows, apart("pomegranate", rows, *shape))
    big = file_bytes // (8 * COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        free = shutil.disk_usage(folder).free
        if free < 2 * file_bytes:
            lines.append({"what": "lowerbound, .npy file", "rows": big, "error": f"{free / MIB:.0f} MiB free on disk"})
            return lines
        path, peaks = Path(folder) / "x.npy", []
        for n in (big // 4, big):
            write_array(path, n, COLUMNS)
            found = apart("ours", n, *shape, str(path))
            peaks.append(found.get("peak", float("inf")))
            add(f"lowerbound, .npy file of {path.stat().st_size / MIB:.0f} MiB", n, found, "peak", MOST_ON_FILE)
    growth = {"growth": peaks[1] - peaks[0]}
    add("peak of the larger file less that of one of a quarter", big, growth, "growth", MOST_GROWTH)
    return lines


def main() -> int:
    lines = results()
    print(f"EM, full covariance, float64, {COLUMNS} columns, {COMPONENTS} components, {PASSES} passes; MiB")
    for line in lines:
        numbers = ", ".join(f"{n} {line[n]:.0f}" for n in ("beyond", "peak", "growth") if n in line)
        verdict = "" if "ok" not in line else f"   {line['required']}: {'ok' if line['ok'] else 'MISSED'}"
        print(f"{line['what']:<55} {line['rows']:>11,} rows   {numbers or 'n/a: ' + line['error']}{verdict}")
    return int(not all(line.get("ok", True) for line in lines))


if __name__ == "__main__":
    sys.exit(main())
