"""What the processes of one fit tell each other, by `torch.distributed`; each reads its own part of the rows (`Shard`).

Every process makes the same calls with the same arguments, as `torchrun --nproc-per-node 2 script.py` has it. What is
summed over rows is added up over the processes, so that all of them have the same model at every pass, to the bit.
Whatever goes wrong in one of them is raised in all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import reduce, wraps
from operator import add
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from ...models import Statistics
from ...models.random_state import gpus, reseed

GONE = (
    "another process of this job ended or is out of reach: run the same command again, which goes on from the "
    "checkpoint if it has one"
)

Made = TypeVar("Made")
Arguments = ParamSpec("Arguments")


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
        raise ConnectionError(GONE) from error


# what all processes do together: each calls the same function at the same point


def together(part: Callable[[], Made]) -> Made:
    """What `part` gives here, once it has come to its end everywhere. What one process raises all of them raise."""
    if processes() == 1:
        return part()
    made, fault = None, None
    try:
        made = part()
    except ConnectionError:
        raise
    except Exception as error:
        if getattr(error, "known_to_all", False):
            raise
        fault = error
    with connected():
        failed = _placed(torch.tensor(float(fault is not None)))
        dist.all_reduce(failed)
    if not failed:
        return made  # type: ignore[return-value]
    first = next(error for error in _gathered(fault) if error is not None)
    raised = first if fault is None else fault
    vars(raised).update(known_to_all=True, told_elsewhere=not is_first())
    raise raised


def in_step(function: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
    """A function that all processes call `together`."""

    @wraps(function)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
        return together(lambda: function(*args, **kwargs))

    return called


def gathered(part: Callable[[], Made]) -> list[Made]:
    """What `part` gives on each process, in their order."""
    own = together(part)
    return [own] if processes() == 1 else _gathered(own)


def from_first(part: Callable[[], Made]) -> Made:
    """What `part` gives on the first process, which alone calls it."""
    own = together(lambda: part() if is_first() else None)
    if processes() == 1:
        return own  # type: ignore[return-value]
    box = [own]
    with connected():
        dist.broadcast_object_list(box)
    return box[0]  # type: ignore[return-value]


def added(part: Callable[[], Made]) -> Made:
    """The sum over processes of what `part` gives: numbers, tensors or `Statistics`, which travel in one message, in
    float64; of statistics that add in a way of their own, the parts themselves travel."""
    own: Any = together(part)
    if isinstance(own, Tensor):
        return _summed([own])[0]  # type: ignore[return-value]
    if type(own).__add__ is Statistics.__add__:
        names = [field.name for field in fields(own)]
        return replace(own, **dict(zip(names, _summed([getattr(own, name) for name in names]), strict=True)))
    return reduce(add, _gathered(own))


def average(tensors: Sequence[Tensor], weight: float) -> None:
    """Replace tensors, in place, by their mean over processes, each counting with its weight."""
    flat = torch.cat([weight * tensor.flatten() for tensor in tensors])
    whole = torch.cat([flat, flat.new_tensor([weight])])
    with connected():
        dist.all_reduce(whole)
    for tensor, part in zip(tensors, whole[:-1].split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_((part / whole[-1]).view_as(tensor))


def synchronize(tensors: Iterable[Tensor]) -> None:
    """Give tensors, in place, the values that they have on the first process."""
    own = list(tensors)
    for tensor, value in zip(own, from_first(lambda: [each.detach().cpu() for each in own]), strict=True):
        tensor.data.copy_(value)


def set_out(model: Any, generator: torch.Generator) -> None:
    """Begin at the first process's start, each process with random numbers of its own: the first with those that a
    single one would have."""
    if processes() == 1:
        return
    synchronize(model.state_dict().values())
    if not is_first():
        own = int(torch.randint(2**62, (rank(),), generator=generator)[-1])
        reseed(own, gpus(model))
        generator.manual_seed(own)


def require_same(bound: float) -> None:
    """Raise ArithmeticError if the processes have come to different bounds, and would go different ways from here."""
    bounds = gathered(lambda: bound)
    if len({each.hex() for each in bounds}) > 1:
        raise ArithmeticError(
            f"the processes have come to different bounds, {', '.join(map(str, bounds))}, expected the same model on "
            "each: the engine, or code of the model's own, keeps to itself what it sums over rows (see Rows.reduced)"
        )


def _summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    flat = _placed(torch.cat([tensor.detach().flatten().double() for tensor in tensors]))
    with connected():
        dist.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor).to(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def _gathered(own: Any) -> list:
    everyone: list[Any] = [None] * processes()
    with connected():
        dist.all_gather_object(everyone, own)
    return everyone


def _placed(tensor: Tensor) -> Tensor:
    """Where the job can send it from: a GPU, if nccl is all there is."""
    return tensor.cuda() if dist.get_backend() == "nccl" else tensor
