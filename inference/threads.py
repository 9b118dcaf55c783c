"""Which work is given to how many threads: small tables to one, large ones chunk by chunk to each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

SMALL_TABLE = 1 << 16  # cells; an operation on fewer takes less time than torch's threads need to meet


@contextmanager
def threads_for(cells: int) -> Iterator[None]:
    """Run the body on one thread if the table has few cells, and put the number of threads back afterwards.

    On a busy machine this is the difference between milliseconds and seconds: threads that wait for each other at the
    end of every small operation wait for the scheduler.
    """
    threads = torch.get_num_threads()
    if cells >= SMALL_TABLE or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def share_of(rows: int) -> int:
    """How many rows a thread takes at a time: a sixteenth, within bounds. It does not depend on how many threads there
    are, so that sums are taken in the same order, and end in the same bits, on any of them."""
    return max(1 << 12, min(1 << 16, -(-rows // 16)))


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """function(item) of each item, in order, on as many threads as torch has, each working on an item of its own.

    Threads that share every small operation meet thousands of times a pass, and on a busy machine each meeting waits
    for the scheduler; here they meet once an item. At most two items a thread are held at a time.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) == 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            torch.set_num_threads(threads)  # the threads of the pool have set what new threads will start with
