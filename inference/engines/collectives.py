"""Collective calls: what the processes of one fit compute together, by `torch.distributed`.

Every process makes the same calls with the same arguments, in the same order. Sums over rows are added over the
processes, so that all have the same model after every pass, to the bit. An error in one of them is raised in all.
Without a job each function calls its argument and returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from functools import reduce, wraps
from operator import add
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ...models import Statistics
from ...models.random_state import gpus, reseed
from .processes import connected, is_first, processes, rank

Made = TypeVar("Made")
Arguments = ParamSpec("Arguments")


def run_on_all(part: Callable[[], Made]) -> Made:
    """Return `part()` once it has returned on every process; an error on one process is raised on all."""
    if processes() == 1:
        return part()
    made, fault = None, None
    try:
        made = part()
    except ConnectionError:
        raise
    except Exception as error:
        if getattr(error, "known_to_all", False):  # set below, on errors of any class
            raise
        fault = error
    with connected():
        failed = _on_backend_device(torch.tensor(float(fault is not None)))
        dist.all_reduce(failed)
    if not failed:
        return made  # type: ignore[return-value]
    first = next(error for error in _all_gather(fault) if error is not None)
    raised = first if fault is None else fault
    vars(raised).update(known_to_all=True, told_elsewhere=not is_first())
    raise raised


def on_all_processes(function: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
    """Decorate a function that all processes call: an error in one of them is raised in all (`run_on_all`)."""

    @wraps(function)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
        return run_on_all(lambda: function(*args, **kwargs))

    return wrapped


def gather(part: Callable[[], Made]) -> list[Made]:
    """The values of `part()` on all processes, in the order of their ranks."""
    own = run_on_all(part)
    return [own] if processes() == 1 else _all_gather(own)


def broadcast_from_first(part: Callable[[], Made]) -> Made:
    """The value of `part()` on the first process, the only one that calls it."""
    own = run_on_all(lambda: part() if is_first() else None)
    if processes() == 1:
        return own  # type: ignore[return-value]
    box = [own]
    with connected():
        dist.broadcast_object_list(box)
    return box[0]  # type: ignore[return-value]


def sum_over_processes(part: Callable[[], Made]) -> Made:
    """The sum of `part()` over processes: numbers, tensors or `Statistics`.

    Tensors travel in one message, in float64. Statistics with their own addition are gathered and then added.
    """
    own: Any = run_on_all(part)
    if isinstance(own, Tensor):
        return _all_reduce([own])[0]  # type: ignore[return-value]
    if type(own).__add__ is Statistics.__add__:
        names = [field.name for field in fields(own)]
        return replace(own, **dict(zip(names, _all_reduce([vars(own)[name] for name in names]), strict=True)))
    return reduce(add, _all_gather(own))


def average(tensors: Sequence[Tensor], weight: float) -> None:
    """Replace tensors, in place, by their weighted mean over processes."""
    flat = torch.cat([weight * tensor.flatten() for tensor in tensors])
    total = torch.cat([flat, flat.new_tensor([weight])])
    with connected():
        dist.all_reduce(total)
    for tensor, part in zip(tensors, total[:-1].split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_((part / total[-1]).view_as(tensor))


def synchronize(tensors: Iterable[Tensor]) -> None:
    """Replace tensors, in place, by their values on the first process."""
    own = list(tensors)
    for tensor, value in zip(own, broadcast_from_first(lambda: [each.detach().cpu() for each in own]), strict=True):
        tensor.data.copy_(value)


def start_from_first(model: Any, generator: torch.Generator) -> None:
    """Give all processes the model of the first, and each of them its own random numbers.

    The first keeps the random numbers that a single process would have.
    """
    if processes() == 1:
        return
    synchronize(model.state_dict().values())
    if not is_first():
        own = int(torch.randint(2**62, (rank(),), generator=generator)[-1])
        reseed(own, gpus(model))
        generator.manual_seed(own)


def require_same_bound(bound: float) -> None:
    """Raise ArithmeticError if the processes have different bounds, from which they would diverge."""
    if processes() == 1:
        return
    bounds = gather(lambda: bound)
    if len({each.hex() for each in bounds}) > 1:
        raise ArithmeticError(
            f"the processes have come to different bounds, {', '.join(map(str, bounds))}, expected the same model on "
            "each: the engine or the model sums over the rows of one process only, where Rows.reduced sums over all"
        )


def _all_reduce(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The sums of these tensors over processes, in one message."""
    flat = _on_backend_device(torch.cat([tensor.detach().flatten().double() for tensor in tensors]))
    with connected():
        dist.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor).to(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def _all_gather(own: Any) -> list:
    """The values on all processes, in the order of their ranks."""
    everyone: list[Any] = [None] * processes()
    with connected():
        dist.all_gather_object(everyone, own)
    return everyone


def _on_backend_device(tensor: Tensor) -> Tensor:
    """The tensor where the backend can send it from: on a GPU, if nccl is the only one."""
    return tensor.cuda() if dist.get_backend() == "nccl" else tensor
