"""One thread for small work: where an operation takes microseconds, waking a second core costs more than it saves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL_TABLE = 1 << 16  # cells; an operation on fewer takes less time than torch's threads need to meet


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
