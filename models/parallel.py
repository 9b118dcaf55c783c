"""Blocks of rows side by side: each of torch's threads works through blocks of its own.

Operations on one block are too short to share out: threads that meet at the end of each of them wait for one another,
on a busy machine for the scheduler. Here they meet once, after many operations.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """The threads, each with one thread of torch's: made when they are first needed, and anew after a fork, which
    leaves threads behind."""

    def __init__(self):
        self.lock = threading.Lock()
        self.pool: ThreadPoolExecutor | None = None
        self.size = 0

    def take(self, size: int) -> ThreadPoolExecutor:
        """A pool of at least `size` threads."""
        with self.lock:
            if self.pool is None or self.size < size:
                if self.pool is not None:
                    self.pool.shutdown(wait=False)  # what is under way in it comes to its end
                threads = torch.get_num_threads()
                ready = threading.Barrier(size + 1)

                def begin() -> None:
                    torch.set_num_threads(1)
                    torch.get_num_threads()  # at its first question a thread takes over what holds for all
                    ready.wait()

                self.pool, self.size = ThreadPoolExecutor(size, "lowerbound", begin), size
                for _ in range(size):
                    self.pool.submit(int)
                ready.wait()
                torch.set_num_threads(threads)  # what torch says of all threads, which the new ones have changed
            return self.pool

    def forget(self) -> None:
        """In a forked process there are no threads, and the lock may be held by one of them."""
        self.__init__()


_workers = Workers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.forget)


def side_by_side(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """function(item) of each item, in their order: on as many threads as torch has, without gradients. What it
    computes does not depend on how many there are."""
    threads = min(torch.get_num_threads(), len(items))
    results: list[Result | None] = [None] * len(items)
    turns = iter(range(len(items)))

    def work() -> None:
        with torch.no_grad():
            for turn in turns:
                results[turn] = function(items[turn])

    if threads < 2:
        work()
    else:
        for future in [_workers.take(threads).submit(work) for _ in range(threads)]:
            future.result()
    return results  # type: ignore[return-value]


class Buffer(threading.local):
    """Memory for what is made of a block, used again for the next one: of each thread its own."""

    def __init__(self):
        self.memory: Tensor | None = None

    def take(self, *shape: int, like: Tensor) -> Tensor:
        """Memory of this shape, and of the kind of `like`; what was in it is lost."""
        memory = self.memory
        if memory is None or memory.shape != shape or memory.dtype != like.dtype or memory.device != like.device:
            self.memory = memory = like.new_empty(shape)
        return memory
