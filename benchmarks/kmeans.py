"""One pass of k-means against scikit-learn's (Lloyd), and against faiss, which computes in float32."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from sklearn.cluster._k_means_lloyd import lloyd_iter_chunked_dense
from threadpoolctl import ThreadpoolController

from benchmarks.rows import Row, missing, shape, timed
from benchmarks.timing import interleaved
from lowerbound.models import KMeans, seed

SHAPES = ((200_000, 8, 8), (200_000, 32, 100))  # rows, columns, centres
AIM = 1.0
SAME = 1e-9  # relative: how closely two distortions must agree before anything is timed
SAME_FLOAT32 = 1e-4
FAISS_PASSES = 10  # of one call, so that what it does once is shared out
SKLEARN, FAISS = "scikit-learn", "faiss"


def data(n: int, d: int, k: int) -> np.ndarray:
    """n rows around k points."""
    rng = np.random.default_rng(0)
    return 1.5 * rng.normal(size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))


def ours(x: np.ndarray, model: KMeans) -> Callable[[], float]:
    """A function that makes one pass and returns the distortion before it."""
    rows = torch.as_tensor(x)

    def one_pass() -> float:
        statistics = model.expect(rows)
        model.maximize(statistics)
        return float(statistics.distortion)

    return one_pass


def sklearn(x: np.ndarray, centres: np.ndarray) -> tuple[Callable[[], np.ndarray], np.ndarray]:
    """A function that makes one pass and returns the centres before it, and the labels that it writes."""
    n, k = len(x), len(centres)
    new, weights, counts, shift = np.zeros_like(centres), np.ones(n), np.zeros(k), np.zeros(k)
    labels, pools, threads = np.zeros(n, dtype=np.int32), ThreadpoolController(), torch.get_num_threads()

    def one_pass() -> np.ndarray:
        nonlocal centres, new
        before = centres
        with pools.limit(limits=1, user_api="blas"):  # as scikit-learn does: its own loop has the threads
            lloyd_iter_chunked_dense(x, weights, centres, new, counts, labels, shift, threads)
        centres, new = new, centres
        return before

    return one_pass, labels


def faiss(x: np.ndarray, centres: np.ndarray) -> Callable[[], list[float]]:
    """A function that makes `FAISS_PASSES` passes from these centres and returns the distortions before each."""
    import faiss as library

    library.omp_set_num_threads(torch.get_num_threads())
    rows, start = x.astype(np.float32), centres.astype(np.float32)
    k, d = centres.shape
    means = library.Kmeans(d, k, niter=FAISS_PASSES, max_points_per_centroid=len(x), min_points_per_centroid=1)

    def passes() -> list[float]:
        means.train(rows, init_centroids=start)
        return list(means.obj)

    return passes


def compare(n: int, d: int, k: int) -> list[Row]:
    """A row for each opponent. Raises ArithmeticError if the distortions of three passes differ."""
    x = data(n, d, k)
    model = seed(KMeans(k, d), x)
    centres = model.loc.detach().numpy().copy()
    own, (theirs, labels) = ours(x, model), sklearn(x, centres.copy())
    others = {FAISS: faiss(x, centres)} if find_spec("faiss") is not None else {}
    first = others[FAISS]() if others else []
    for number in range(3):
        a, before = own(), theirs()
        found = {SKLEARN: (float(np.square(x - before[labels]).sum()), SAME)}
        if FAISS in others:
            found[FAISS] = first[number], SAME_FLOAT32
        for name, (b, allowed) in found.items():
            if not abs(a - b) <= allowed * b:
                raise ArithmeticError(f"the distortion of {name} is {b!r}, ours {a!r}, of {n} x {d}, {k} centres")
    seconds = interleaved({"ours": own, SKLEARN: theirs, **others})
    rows = [timed("k-means", shape(n, d, k), SKLEARN, seconds["ours"], seconds[SKLEARN], AIM)]
    if FAISS not in others:
        return [*rows, missing("k-means", shape(n, d, k), FAISS, "not installed")]
    each = [s / FAISS_PASSES for s in seconds[FAISS]]
    return [*rows, timed("k-means", shape(n, d, k), FAISS, seconds["ours"], each, note="theirs in float32")]


def results() -> list[Row]:
    """Each shape against each opponent."""
    return [row for size in SHAPES for row in compare(*size)]
