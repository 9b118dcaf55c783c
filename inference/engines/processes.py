"""What the processes of one fit tell each other, by `torch.distributed`; each reads its own part of the rows (`DistributedRows`).

Every process makes the same calls with the same arguments, as `torchrun --nproc-per-node 2 script.py` has it. What is
summed over rows is added up over the processes, so that all of them have the same model at every pass, to the bit.
Whatever goes wrong in one of them is raised in all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

PROCESS_LOST = (
    "another process of this job ended or is out of reach: run the same command again, which goes on from the "
    "checkpoint if it has one"
)


def processes() -> int:
    """How many processes the job has."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


@contextmanager
def job() -> Iterator[None]:
    """In the body this process belongs to the job that torchrun started, if it did: gloo for what is on the processor,
    nccl for what is on GPUs.

    torchrun gives a job that it restarts the store of the one before, where the addresses of processes that are gone
    still stand, and `torch.distributed.init_process_group` by itself may call them; here each start has its own names.
    Over several machines, whose counts of restarts differ, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 makes a new store.
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
    """The number of this process on its machine, from 0, which is also that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


def local_device(device: str | None) -> str | None:
    """The device of this process where all were told of one: "cuda" is the GPU of its number."""
    return f"cuda:{local_rank()}" if device == "cuda" and processes() > 1 else device


@contextmanager
def connected() -> Iterator[None]:
    """What fails in the body because another process is gone is a ConnectionError that says so."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(PROCESS_LOST) from error


# what all processes do together: each calls the same function at the same point
