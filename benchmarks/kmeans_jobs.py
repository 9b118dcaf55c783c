"""A whole k-means as a user calls it, starts and all, against scikit-learn's defaults and faiss: processor seconds.

Each row has the distortion that either ended with (of faiss the one that its centres have in float64): a run that
stops early is quick and has a larger one.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import geometric_mean, median

import numpy as np
import torch
from sklearn.cluster import KMeans as Sklearn
from sklearn.datasets import load_digits, load_iris

from benchmarks.rows import Row, missing, shape, timed
from lowerbound.datasets import load
from lowerbound.inference import EM, fit
from lowerbound.models import KMeans

MEAN_AIM, LEAST_AIM = 1.2, 0.9
ROUNDS = 5
SKLEARN, FAISS, INTELEX = "scikit-learn", "faiss", "scikit-learn-intelex"
Solve = Callable[[int], np.ndarray]  # the centres that a solver finds with this seed


def blobs(n: int, d: int, k: int) -> np.ndarray:
    """n rows around k points, whose clusters overlap."""
    rng = np.random.default_rng(0)
    return 1.5 * rng.normal(size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))


def jobs() -> list[tuple[str, np.ndarray, int, int]]:
    """Name, rows, centres and starts of each job."""
    iris, digits = load_iris().data, load_digits().data
    return [
        ("iris", iris, 3, 10),
        ("Old Faithful", load("faithful").to_numpy(dtype=float), 2, 10),
        ("digits", digits, 10, 10),
        ("digits", digits, 100, 10),
        *(("blobs", blobs(n, d, k), k, 1) for n, d, k in ((10_000, 8, 5), (10_000, 16, 32))),
        *(("blobs", blobs(100_000, 16, k), k, 1) for k in (8, 32)),
    ]


def solvers(x: np.ndarray, k: int, starts: int) -> dict[str, Solve]:
    """Ours and the opponents, each a function of the seed."""

    def ours(seed: int) -> np.ndarray:
        return fit(KMeans(k, x.shape[1]), x, EM(), restarts=starts, seed=seed).model.loc.detach().numpy()

    def sklearn(seed: int) -> np.ndarray:
        return Sklearn(k, n_init=starts, random_state=seed).fit(x).cluster_centers_

    found: dict[str, Solve] = {"ours": ours, SKLEARN: sklearn}
    if find_spec("sklearnex") is not None:
        from sklearnex.cluster import KMeans as Intelex  # pyright: ignore[reportMissingImports]

        found[INTELEX] = lambda seed: Intelex(k, n_init=starts, random_state=seed).fit(x).cluster_centers_
    if find_spec("faiss") is not None:
        import faiss as library

        library.omp_set_num_threads(torch.get_num_threads())
        rows = x.astype(np.float32)

        def faiss(seed: int) -> np.ndarray:  # all rows, as the others: by default it takes 256 for each centre
            means = library.Kmeans(
                x.shape[1], k, nredo=starts, seed=seed + 1, max_points_per_centroid=len(x), min_points_per_centroid=1
            )
            means.train(rows)
            return means.centroids.astype(float)

        found[FAISS] = faiss
    return found


def distortion(x: np.ndarray, centres: np.ndarray) -> float:
    """The sum of squared distances to the nearest centre."""
    blocks = np.array_split(x, max(1, len(x) * len(centres) // 1_000_000))
    return sum(np.square(b[:, None] - centres).sum(-1).min(1).sum() if b.size else 0.0 for b in blocks)


def measured(solve: dict[str, Solve], x: np.ndarray, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Processor seconds of each solver in turn, one seed a round, and the median distortions."""
    seconds: dict[str, list[float]] = {name: [] for name in solve}
    ends: dict[str, list[float]] = {name: [] for name in solve}
    for function in solve.values():
        function(0)  # compiles, wakes threads
    gc.collect()
    gc.disable()
    try:
        for seed in range(rounds):
            for name, function in solve.items():
                began = time.process_time()
                centres = function(seed)
                seconds[name].append(time.process_time() - began)
                ends[name].append(distortion(x, centres))
    finally:
        gc.enable()
    return seconds, {name: median(found) for name, found in ends.items()}


def results() -> list[Row]:
    """Each job against each opponent, and the geometric mean of the ratios to the fastest of them."""
    rows, fastest = [], []
    for name, x, k, starts in jobs():
        seconds, ends = measured(solvers(x, k, starts), x, ROUNDS)
        what, of = f"k-means, whole: {name}, {starts} start{'s' if starts > 1 else ''}", shape(*x.shape, k)
        own = []
        for opponent in (SKLEARN, INTELEX, FAISS):
            if opponent not in seconds:
                rows.append(missing(what, of, opponent, "not installed"))
                continue
            note = f"distortion {ends['ours']:.6g}, theirs {ends[opponent]:.6g}"
            note += ", in float32" if opponent == FAISS else ""
            row = timed(what, of, opponent, seconds["ours"], seconds[opponent], LEAST_AIM, note)
            rows.append(row)
            own.append(row.ratio)
        fastest.append(min(own))
    mean = geometric_mean(fastest)
    text = f"geometric mean of {len(fastest)}"
    return [*rows, Row("k-means, whole", text, "the fastest of each", ratio=mean, target=MEAN_AIM)]


if __name__ == "__main__":
    for line in results():
        print(f"{line.what:48} {line.shape:18} {line.opponent:20}", end=" ", flush=True)
        if line.ours is not None and line.theirs is not None:
            print(f"{line.ours:9.2f} {line.theirs:9.2f}", end=" ")
        print("" if line.ratio is None else f"{line.ratio:6.2f}", line.note, flush=True)
