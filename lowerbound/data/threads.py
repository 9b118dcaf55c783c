"""One thread for small work: where an operation takes microseconds, waking a second core costs more than it saves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL_TABLE = 1 << 16  # values; an operation on fewer takes less time than the synchronization of torch's threads


@contextmanager
def threads_for(cells: int) -> Iterator[None]:
    """Run the body on one thread if it reads fewer than `SMALL_TABLE` values at a time, then restore torch's threads.

    On a busy machine this is the difference between milliseconds and seconds: after every small operation the threads
    wait for each other, and so for the scheduler.
    """
    if cells >= SMALL_TABLE:
        yield
        return
    with one_thread():
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the body on one thread: sums over many rows are then the same to the bit for any thread count of torch."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
