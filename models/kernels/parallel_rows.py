"""How compiled kernels run over the rows of a table, in parts that threads share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .compiled.block_sizes import ROWS

# Rows are summed in parts. Parts do not depend on the number of threads, so that sums are the same to the bit.
MAX_PARTS = 64
MIN_ROWS = 2560  # of a part
MIN_PRODUCTS = 1 << 22  # of numbers, in a part: fewer take no longer than waking a thread
MIN_PRODUCTS_PER_SUM = 128  # for each number that a part sums, since it is allocated and added for each part
MAX_BYTES = 1 << 24  # of the sums of all parts, if there are more than four parts

Part = tuple[int, list[np.ndarray]]  # its first row, and its sums


def can_compile(x: Tensor) -> bool:
    """Whether a compiled pass can read these rows.

    There must be at least one row, on the CPU, and NUMBA_DISABLE_JIT must not switch numba off.
    """
    return x.is_cpu and len(x) > 0 and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


def run_in_parts(
    kernel: Callable[..., None],
    x: Tensor,
    weights: Tensor | None,
    labels: Tensor | None,
    given: Sequence[Any],
    memory: tuple[int, torch.dtype],
    sums: Sequence[tuple[tuple[int, ...], type]],
    cost: int,
) -> list[Part]:
    """Run a kernel over the rows, part by part, on as many threads as torch has.

    Calls kernel(rows, weights, labels, *given, scratch memory, *sums) for each part. Kernels check nothing: the caller
    checks that the shapes fit each other.

    Args:
        kernel: A compiled function that adds to its last arguments, the sums.
        x: Rows (n, f), float64.
        weights: Row weights (n,), or None.
        labels: Known components (n,), -1 where unknown, or None.
        given: Further arguments of the kernel, the same for all parts.
        memory: Rows and type of the scratch memory for a block: (rows, ROWS) numbers.
        sums: Shape and type of each sum that the kernel adds to.
        cost: Products of numbers per row, from which the size of parts follows.

    Returns:
        The first row and the sums of each part.

    Raises:
        ValueError: weights or labels are not one for each row.
    """
    rows = x.contiguous().numpy()
    w = np.empty(0) if weights is None else weights.contiguous().numpy()
    z = np.empty(0, np.int64) if labels is None else labels.contiguous().numpy()
    n, numbers = len(rows), sum(prod(shape) for shape, _ in sums)
    if any(len(part) not in (0, n) for part in (w, z)):
        raise ValueError(f"got {len(w)} weights and {len(z)} labels for {n} rows, expected one for each or none")
    limits = (
        MAX_PARTS,
        n * cost // max(MIN_PRODUCTS, MIN_PRODUCTS_PER_SUM * numbers),
        n // MIN_ROWS,
        max(4, MAX_BYTES // (8 * numbers)),
    )
    size = -(-n // (max(1, min(limits)) * ROWS)) * ROWS

    worker = partial(PartRunner, kernel, (rows, w, z), given, memory, sums, size)
    return run_on_threads(worker, range(0, n, size))


class PartRunner:
    """Runs a kernel on one part of `size` rows after another, in its own scratch memory."""

    def __init__(self, kernel: Callable[..., None], rows: Any, given: Any, memory: Any, sums: Any, size: int):
        self.kernel, self.rows, self.given, self.sums, self.size = kernel, rows, given, sums, size
        self.memory = torch.empty(memory[0], ROWS, dtype=memory[1]).numpy()  # torch aligns rows to cache lines

    def __call__(self, start: int) -> Part:
        part, found = slice(start, start + self.size), [np.zeros(shape, kind) for shape, kind in self.sums]
        self.kernel(*(own[part] for own in self.rows), *self.given, self.memory, *found)
        return start, found


def add_parts(parts: Sequence[Part]) -> list[np.ndarray]:
    """The sums over all parts, added in the order of the rows, in the memory of the first part."""
    sums = parts[0][1]
    for _, found in parts[1:]:
        for total, own in zip(sums, found, strict=True):
            total += own
    return sums


_pool: ThreadPoolExecutor | None = None
_helpers = 0


def run_on_threads(worker: Callable[[], Callable[[int], Part]], starts: Sequence[int]) -> list[Part]:
    """Call visit(start) for each start on as many threads as torch has, and return the results in order.

    Each thread makes its own `visit` by calling `worker`, and takes the next start until none is left. `visit`
    must not hold Python's lock for long. An exception is raised once all threads have stopped.
    """
    results: list[Part | None] = [None] * len(starts)
    left = iter(enumerate(starts))

    work = partial(_visit, worker, left, results)
    others = _start(work, min(torch.get_num_threads(), len(starts)) - 1)
    try:
        work()
    finally:
        _exhaust(left)  # also after an exception: other threads finish their current part
        others = [other for other in others if not other.cancel()]  # those that have not started are not needed
        wait(others)
    for other in others:
        other.result()
    return [part for part in results if part is not None]


def _visit(worker: Callable[[], Callable[[int], Part]], left: Iterable[tuple[int, int]], found: list[Any]) -> None:
    """Take the next start until none is left."""
    visit = worker()
    for i, start in left:
        found[i] = visit(start)


def _start(work: Callable[[], None], helpers: int) -> list[Any]:
    """Start `work` on so many threads beside this one; on fewer, or none, while the interpreter shuts down."""
    global _pool, _helpers
    others: list[Any] = []
    if helpers > 0:
        if _pool is None or _helpers < helpers:
            _pool, _helpers = ThreadPoolExecutor(helpers, "lowerbound"), helpers
        with suppress(RuntimeError):
            for _ in range(helpers):
                others.append(_pool.submit(work))
    return others


def _exhaust(left: Iterable[Any]) -> None:
    """Leave no start for the other threads."""
    for _ in left:
        pass


def _forget() -> None:
    """A forked child has no threads: it makes its own pool."""
    global _pool
    _pool = None  # its threads run in the parent only


if sys.platform != "win32":  # Windows cannot fork
    os.register_at_fork(after_in_child=_forget)
