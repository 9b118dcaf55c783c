"""Compiled passes over rows: where they can run, and how threads share the rows out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROWS = 320  # of a block: whole vectors, four at a time, and not a power of 2, whose rows would share cache lines
# Rows are summed in parts that do not depend on the number of threads: so sums over them are the same to the bit.
PARTS = 64  # at most
FEWEST = 2560  # rows of each at least
LEAST = 1 << 22  # products of numbers in each at least: less takes no longer than to wake a thread
SUMMED = 128  # products of numbers for each number that a part sums, at least: that is made and added up for each part
HELD = 1 << 24  # bytes of the sums of all parts, if there are more than four of them

Part = tuple[int, list[np.ndarray]]  # the number of its first row, and what was summed


def compiles(x: Tensor) -> bool:
    """Whether a compiled pass can visit these rows: there are some, on the CPU, and numba is not told to leave code as
    it is."""
    return x.is_cpu and len(x) > 0 and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


def swept(
    kernel: Callable[..., None],
    x: Tensor,
    weights: Tensor | None,
    labels: Tensor | None,
    given: Sequence[Any],
    memory: tuple[int, torch.dtype],
    sums: Sequence[tuple[tuple[int, ...], type]],
    cost: int,
) -> list[Part]:
    """What kernel(rows, weights, labels, *given, memory, *sums) finds in each part of the rows x (n, f), float64.

    memory: how many rows of numbers it needs for a block, and their type; sums: shapes and types of what it adds to.
    cost: of a row, in products of numbers. Kernels check nothing: that shapes fit each other is the caller's business.
    """
    rows = x.contiguous().numpy()
    w = np.empty(0) if weights is None else weights.contiguous().numpy()
    z = np.empty(0, np.int64) if labels is None else labels.contiguous().numpy()
    n, numbers = len(rows), sum(prod(shape) for shape, _ in sums)
    if any(len(part) not in (0, n) for part in (w, z)):
        raise ValueError(f"got {len(w)} weights and {len(z)} labels for {n} rows, expected one for each or none")
    limits = PARTS, n * cost // max(LEAST, SUMMED * numbers), n // FEWEST, max(4, HELD // (8 * numbers))
    size = -(-n // (max(1, min(limits)) * ROWS)) * ROWS

    worker = partial(Worker, kernel, (rows, w, z), given, memory, sums, size)
    return side_by_side(worker, range(0, n, size))


class Worker:
    """Visits parts of the rows, of `size` rows each, one after the other, in memory of its own."""

    def __init__(self, kernel: Callable[..., None], rows: Any, given: Any, memory: Any, sums: Any, size: int):
        self.kernel, self.rows, self.given, self.sums, self.size = kernel, rows, given, sums, size
        self.memory = torch.empty(memory[0], ROWS, dtype=memory[1]).numpy()  # whose rows begin on whole cache lines

    def __call__(self, start: int) -> Part:
        part, found = slice(start, start + self.size), [np.zeros(shape, kind) for shape, kind in self.sums]
        self.kernel(*(own[part] for own in self.rows), *self.given, self.memory, *found)
        return start, found


def added(parts: Sequence[Part]) -> list[np.ndarray]:
    """The sums over all parts, in the order of the rows; in the memory of the first part's."""
    whole = parts[0][1]
    for _, found in parts[1:]:
        for total, own in zip(whole, found, strict=True):
            total += own
    return whole


_pool: ThreadPoolExecutor | None = None
_helpers = 0


def side_by_side(worker: Callable[[], Callable[[int], Part]], starts: Sequence[int]) -> list[Part]:
    """What `visit(start)` finds for each start, in their order, on as many threads as torch has: each has a `visit` of
    its own from `worker`, and takes what is next. `visit` must not hold Python's lock for long."""
    found: list[Part | None] = [None] * len(starts)
    left = iter(enumerate(starts))

    work = partial(_visit, worker, left, found)
    others = _begun(work, min(torch.get_num_threads(), len(starts)) - 1)
    try:
        work()
    finally:
        _exhaust(left)  # whatever was raised here: helpers end with what they are at
        others = [other for other in others if not other.cancel()]  # those that have not begun are not needed
        wait(others)
    for other in others:
        other.result()
    return [part for part in found if part is not None]


def _visit(worker: Callable[[], Callable[[int], Part]], left: Iterable[tuple[int, int]], found: list[Any]) -> None:
    visit = worker()
    for i, start in left:
        found[i] = visit(start)


def _begun(work: Callable[[], None], helpers: int) -> list[Any]:
    """`work` on so many threads beside this one; on fewer, or none, where the interpreter is about to end."""
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
    for _ in left:
        pass


def _forget() -> None:
    global _pool
    _pool = None  # its threads are the parent's


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_forget)
