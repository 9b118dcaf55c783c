"""How many threads: one for small work, where waking a second core costs more than it saves, and for many rows as many
as torch has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

SMALL_TABLE = 1 << 16  # cells; an operation on fewer takes less time than torch's threads need to meet
# Rows are shared out in parts that do not depend on the number of threads: so sums over them are the same to the bit.
PARTS, LEAST = 64, 1 << 22  # parts at most, and products of numbers in each at least: less takes no longer than a start
FEWEST = 8  # whole blocks in each at least: what is made of a part costs as much as some rows


@contextmanager
def threads_for(cells: int) -> Iterator[None]:
    """Run the body on one thread if what it reads at a time, the table or a batch of it, has few cells, and put the
    number of threads back afterwards.

    On a busy machine this is the difference between milliseconds and seconds: threads that wait for each other at the
    end of every small operation wait for the scheduler.
    """
    if cells >= SMALL_TABLE:
        yield
        return
    with one_thread():
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the body on one thread: sums over many rows are then the same to the bit, whatever torch has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


_pool: ThreadPoolExecutor | None = None


def _forget() -> None:
    global _pool
    _pool = None  # its threads are the parent's


os.register_at_fork(after_in_child=_forget)


def shared_out(visitor: Callable[[], Callable[[int, int], Any]], n: int, cost: int, whole: int) -> list[Any]:
    """What visit(start, stop) finds for parts of n rows, in the order of the rows. The parts are shared out among as
    many threads as torch has, each with a `visit` of its own from `visitor`, which must not hold Python's lock for
    long. cost: of a row, in products of numbers; whole: a number of rows that parts are multiples of."""
    global _pool
    parts = max(1, min(PARTS, n * cost // LEAST, n // (FEWEST * whole)))
    size = -(-n // (parts * whole)) * whole
    starts = range(0, n, size)
    found: list[Any] = [None] * len(starts)
    left = iter(enumerate(starts))  # the next one to whoever is free

    def work() -> None:
        visit = visitor()
        for i, start in left:
            found[i] = visit(start, min(n, start + size))

    helpers = min(torch.get_num_threads(), len(starts)) - 1
    if helpers > 0 and (_pool is None or _pool._max_workers < helpers):
        _pool = ThreadPoolExecutor(helpers, "lowerbound")
    others = [_pool.submit(work) for _ in range(helpers)] if _pool is not None else []
    work()
    for other in others:
        other.result()
    return found


def added(parts: Sequence[Sequence[np.ndarray]]) -> Sequence[np.ndarray]:
    """The sums over parts, in their order, of their first arrays, their second and so on: in the memory of part 0."""
    for part in parts[1:]:
        for total, own in zip(parts[0], part, strict=True):
            total += own
    return parts[0]
