"""The share of the machine's matrix product that a pass reaches.

A pass makes two products of (k, s) with (s, n), s = d (d + 3) / 2 statistics of a row of d columns: 4 n s k flops,
which is all that is counted; the products of columns, the posteriors and the M-step are not, though they take time.
The machine's rate is that of a square product in the same precision, by the same threads, in turn with ours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.gaussian import FULL, data, ours, start
from benchmarks.rows import Row, shape
from benchmarks.timing import interleaved

SIDE = 3072  # of the square matrices: 58 Gflop, 75 MB each
TARGETS = {(100_000, 32, 32): 0.55}


def flops(n: int, d: int, k: int) -> int:
    """Multiplications and additions of the two matrix products of a pass, full covariances."""
    return 4 * n * (d * (d + 3) // 2) * k


def product(dtype: torch.dtype) -> Callable[[], object]:
    """A square matrix product."""
    a, b = torch.rand(2, SIDE, SIDE, dtype=dtype, generator=torch.Generator().manual_seed(0))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def reached(n: int, d: int, k: int, dtype: torch.dtype) -> Row:
    """Billions of flops a second of a pass, and of the square product."""
    x = data(n, d, k)
    model = start(n, d, k, "full", x)
    seconds = interleaved({"ours": ours(x, model, dtype), "product": product(dtype)})
    own = [flops(n, d, k) / s / 1e9 for s in seconds["ours"]]
    peak = [2 * SIDE**3 / s / 1e9 for s in seconds["product"]]
    ratios = sorted(a / b for a, b in zip(own, peak, strict=True))
    middle = {"ours": sorted(own)[len(own) // 2], "theirs": sorted(peak)[len(peak) // 2]}
    single = dtype == torch.float32
    return Row(
        "full, float32" if single else "full",
        shape(n, d, k),
        "sgemm" if single else "dgemm",
        **middle,
        unit="Gflop/s",
        ratio=ratios[len(ratios) // 2],
        least=ratios[0],
        most=ratios[-1],
        target=None if single else TARGETS.get((n, d, k)),
        note=f"{flops(n, d, k) / 1e9:.2f} Gflop a pass",
    )


def results() -> list[Row]:
    """Each shape in float64, and in float32."""
    return [reached(*size, dtype) for dtype in (torch.float64, torch.float32) for size in FULL]
