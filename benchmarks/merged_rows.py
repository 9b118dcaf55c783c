"""What merging rows that are alike gains EM, and what looking for them costs where there are none.

Run as `python -m benchmarks.merged_rows`: 100,000 rows of 8 columns of four levels, of few patterns, and of 8 Gaussian
columns, where all rows differ.
"""

from __future__ import annotations

from statistics import median

import numpy as np

from benchmarks.timing import interleaved
from lowerbound.inference.evaluate import expectation
from lowerbound.models import CategoricalMixture, GaussianMixture, Mixture, Rows, seed

N, D, LEVELS, TIMES = 100_000, 8, 4, 9


def measure(x: np.ndarray, model: Mixture) -> tuple[int, dict[str, float]]:
    """How many rows are left, and milliseconds: one E-step of all rows, one of the merged ones, and the merging."""
    rows = Rows(x)
    _ = rows.moments  # as `fit` does first
    merged = rows.merged

    def merge() -> Rows:
        rows.__dict__.pop("merged", None)
        return rows.merged

    functions = {
        "whole": lambda: expectation(model, rows),
        "merged": lambda: expectation(model, merged),
        "merge": merge,
    }
    return len(merged), {name: 1e3 * median(times) for name, times in interleaved(functions, TIMES).items()}


def main() -> None:
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, LEVELS, (500, D)).astype(float)
    few = patterns[rng.integers(500, size=N)]
    normal = rng.normal(size=(N, D))
    for name, x, model in (
        ("500 patterns", few, seed(CategoricalMixture(3, [LEVELS] * D), few)),
        ("all different", normal, seed(GaussianMixture(3, D, "diag"), normal)),
    ):
        left, ms = measure(x, model)
        print(f"{name}: {N} rows to {left}; " + ", ".join(f"{part} {value:.2f} ms" for part, value in ms.items()))


if __name__ == "__main__":
    main()
