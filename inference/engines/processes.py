"""The processes of a job that share one fit, as `torchrun --nproc-per-node 2 script.py` starts them.

The rank of this process, the number of processes, and how they connect by `torch.distributed`. What they compute
together is in `collectives`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

PROCESS_LOST = (
    "another process of this job ended or cannot be reached: run the same command again; it resumes from "
    "its checkpoint, if it has one"
)


def processes() -> int:
    """How many processes the job has; 1 without a job."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


@contextmanager
def job() -> Iterator[None]:
    """In the body this process belongs to the job that torchrun started, if it did: gloo on CPUs, nccl on GPUs.

    When torchrun restarts a job, it keeps the store of addresses, which still holds those of processes that have ended;
    `torch.distributed.init_process_group` by itself may use them. Here each start has its own prefix in the store.
    On several machines, whose counts of restarts differ, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 makes a new store.
    """
    world = os.environ.get("WORLD_SIZE", "1")
    if world == "1" or dist.is_initialized():
        yield
        return
    cuda = torch.cuda.is_available() and dist.is_nccl_available()
    if cuda:
        torch.cuda.set_device(local_rank())
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if os.environ.get("LOCAL_WORLD_SIZE") == world else ""
    with connected():
        store, number, count = next(rendezvous("env://"))
        store = dist.PrefixStore(f"start {start}", store)  # type: ignore[reportPrivateImportUsage]
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", store=store, rank=number, world_size=count)
    try:
        yield
    finally:
        dist.destroy_process_group()


def local_rank() -> int:
    """The number of this process on its machine, from 0, which is also the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


def local_device(device: str | None) -> str | None:
    """The device of this process: in a job "cuda" becomes the GPU with its local rank."""
    return f"cuda:{local_rank()}" if device == "cuda" and processes() > 1 else device


@contextmanager
def connected() -> Iterator[None]:
    """Turn a failure of communication in the body into a ConnectionError that says what to do."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(PROCESS_LOST) from error
