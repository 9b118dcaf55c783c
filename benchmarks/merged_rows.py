"""What merging rows that are alike gains EM, and what looking for them costs where there are none."""

from __future__ import annotations

import numpy as np

from benchmarks.rows import Row, shape, timed
from benchmarks.timing import interleaved
from lowerbound.inference.engines.data_bound import expectation
from lowerbound.models import CategoricalMixture, GaussianMixture, Mixture, Rows, seed

N, D, LEVELS, PATTERNS = 100_000, 8, 4, 500


def measure(name: str, x: np.ndarray, model: Mixture) -> Row:
    """An E-step of the merged rows against one of all rows; the note says what merging costs, once."""
    rows = Rows(x)
    _ = rows.moments  # as `fit` does first
    merged = rows.merged

    def merge() -> Rows:
        rows.__dict__.pop("merged", None)
        return rows.merged

    functions = {
        "all": lambda: expectation(model, rows),
        "merged": lambda: expectation(model, merged),
        "merge": merge,
    }
    seconds = interleaved(functions)
    merging = sorted(seconds["merge"])[len(seconds["merge"]) // 2]
    note = f"{len(merged)} rows are left; merging takes {1e3 * merging:.1f} ms, once"
    return timed(f"merged rows, {name}", shape(*x.shape), "all rows", seconds["merged"], seconds["all"], note=note)


def results() -> list[Row]:
    """Rows of few patterns of codes, and Gaussian ones, which all differ."""
    rng = np.random.default_rng(0)
    few = rng.integers(0, LEVELS, (PATTERNS, D)).astype(float)[rng.integers(PATTERNS, size=N)]
    normal = rng.normal(size=(N, D))
    return [
        measure(f"{PATTERNS} patterns", few, seed(CategoricalMixture(3, [LEVELS] * D), few)),
        measure("all different", normal, seed(GaussianMixture(3, D, "diag"), normal)),
    ]
