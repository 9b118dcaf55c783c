"""What a pass costs, in flops and bytes, on one machine and on many.

`python -m benchmarks.cost` writes the measured part of COST.md, beside this file, from results/latest.json. Formulas
count the matrix products of the code; COST.md says what they leave out.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parent / "COST.md"
RESULTS = Path(__file__).parent / "results" / "latest.json"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

ROWS, MACHINES, COLUMNS, COMPONENTS = 10**9, 10**4, 32, 32  # the plan
BANDWIDTH, LATENCY = 1.25e9, 30e-6  # of a 10 Gbit/s network: bytes and seconds a message
FIXED = 2e-3  # seconds of a pass that no row pays for: calls and the M-step


def statistics(covariance: str, d: int) -> int:
    """s: the numbers that a row of d columns gives the M-step of a Gaussian."""
    return d + {"full": d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diag": d, "spherical": 1}[covariance]


def products(n: int, k: int, s: int) -> int:
    """Flops of the two matrix products of an exponential family: (k, s) by (s, n), and (k, n) by (n, s)."""
    return 4 * n * k * s


def tied(n: int, k: int, d: int) -> int:
    """Flops of a shared full covariance: (k, 1 + d) by (1 + d, n), (k, n) by (n, 1 + d), and the sums over rows of
    products of columns."""
    return products(n, k, 1 + d) + n * d * (d + 1)


def allreduced(k: int, s: int) -> int:
    """Bytes of `Statistics`: weight (k,), total (k, s), bound and total weight."""
    return 8 * (k + k * s + 2)


def ring(machines: int, size: float, bandwidth: float, latency: float) -> float:
    """Seconds to sum so many bytes by a ring: 2 (P - 1) messages of size / P."""
    return 2 * (machines - 1) * (latency + size / machines / bandwidth)


def tree(machines: int, size: float, bandwidth: float, latency: float) -> float:
    """Seconds by a binary tree, up and down: 2 log2 P messages of the whole."""
    return 2 * math.ceil(math.log2(machines)) * (latency + size / bandwidth)


def halving(machines: int, size: float, bandwidth: float, latency: float) -> float:
    """Seconds by recursive halving and doubling (Rabenseifner 2004): 2 log2 P messages of half, a quarter, ..."""
    return 2 * math.ceil(math.log2(machines)) * latency + 2 * (1 - 1 / machines) * size / bandwidth


def measured(found: dict) -> str:
    """The part of the page that has numbers: the machine's rates, and what they mean for the plan."""
    rates = [row for row in found["rows"] if row["section"] == "gemm" and row["ratio"] is not None]
    if not rates:
        raise ValueError("the run has no rows of `gemm`: run `python -m benchmarks` first")
    about = found["machine"]
    caches = ", ".join(f"{name} {size}" for name, size in about["caches"].items())
    lines = [
        f"{about['processor']}, {about['cores']} cores ({caches}), {about['threads']['requested']} threads, torch "
        f"{about['versions']['torch']}, load {about['load']:.1f} before it began, {about['date']}:",
        "",
        "| rows x columns x components | Gflop a pass | a pass reaches, Gflop/s | square product, Gflop/s | share |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rates:
        name = f"{row['shape']} ({row['what']}, {row['opponent']})"
        flops = row["note"].split()[0]
        lines.append(f"| {name} | {flops} | {row['ours']:.1f} | {row['theirs']:.1f} | {100 * row['ratio']:.0f} % |")
    d, k = COLUMNS, COMPONENTS
    of = next((r for r in rates if r["opponent"] == "dgemm" and r["shape"].endswith(f"{d} x {k}")), rates[-1])
    s, own = statistics("full", d), ROWS // MACHINES
    size, work = allreduced(k, s), products(own, k, s) / (1e9 * of["ours"])
    sums = {f.__name__: f(MACHINES, size, BANDWIDTH, LATENCY) for f in (ring, tree, halving)}
    lines += [
        "",
        f"At {of['ours']:.1f} Gflop/s, as at {of['shape']}: {own:,} of {ROWS:,} rows on each of {MACHINES:,} such",
        f"machines, {8 * own * d / 1e6:.1f} MB of float64 and {products(own, k, s) / 1e9:.2f} Gflop, take "
        f"{1e3 * work:.0f} ms a pass; {size / 1e3:.1f} kB are summed.",
        "",
        "| all-reduce | a sum, ms | a pass, ms | share of the pass that is work |",
        "| --- | --- | --- | --- |",
    ]
    for name, seconds in sums.items():
        whole = work + FIXED + seconds
        lines.append(f"| {name} | {1e3 * seconds:.2f} | {1e3 * whole:.0f} | {100 * work / whole:.0f} % |")
    lines += ["", "| machines | rows on each | work, ms | by ring | by halving |", "| --- | --- | --- | --- | --- |"]
    for machines in (10**2, 10**3, 10**4, 10**5, 10**6):
        share = products(ROWS // machines, k, s) / (1e9 * of["ours"])
        parts = [share / (share + FIXED + f(machines, size, BANDWIDTH, LATENCY)) for f in (ring, halving)]
        ring_share, halving_share = (f"{100 * part:.0f} %" for part in parts)
        lines.append(f"| {machines:,} | {ROWS // machines:,} | {1e3 * share:,.1f} | {ring_share} | {halving_share} |")
    return "\n".join(lines)


def main() -> int:
    """Put the measured part into the page."""
    text = measured(json.loads(RESULTS.read_text()))
    page = PAGE.read_text()
    PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{text}\n{END}", page, flags=re.DOTALL))
    return 0


if __name__ == "__main__":
    sys.exit(main())
