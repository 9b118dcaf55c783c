"""A device that is not there: tensors that say they are elsewhere, and refuse to meet those of the processor.

Inside `Elsewhere()`, `.to(ELSEWHERE)` wraps a tensor in one that reports that device and computes on the processor all
the same. An operation of both kinds raises, as CUDA does, but for a number alone (0 dimensions), indices of a tensor
that is elsewhere, and copies. What is made without a device is made on the processor, as ever.
"""

import contextlib
from unittest import mock

import torch
from torch.optim import optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("meta")  # a device that torch can name on every machine
aten = torch.ops.aten
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
COPIES = {aten.copy_.default}


class Away(torch.Tensor):
    """A tensor that reports ELSEWHERE; `inner` has its values."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner):
        away = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), dtype=inner.dtype, device=ELSEWHERE
        )
        away.inner = inner
        return away

    def __repr__(self):
        return f"Away({self.inner})"

    def __deepcopy__(self, memo):
        made = Away(self.inner.detach().clone())
        made = torch.nn.Parameter(made, self.requires_grad) if isinstance(self, torch.nn.Parameter) else made
        return memo.setdefault(id(self), made)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func == torch.Tensor.data.__set__:
            require(isinstance(args[1], Away) == isinstance(args[0], Away), func, args)
            args[0].inner = args[1].inner.detach()
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):  # torch makes tensors of lists unseen
            args = (args[0], indices(args[1]), *args[2:])
        if func is torch.Tensor.numpy:
            raise TypeError("a tensor elsewhere has no numpy array, expected .cpu() first")
        if func is torch.Tensor.new_tensor:
            return Away(args[0].inner.new_tensor(*args[1:], **(kwargs or {})))
        if func is torch.Tensor.tolist:
            return args[0].inner.detach().tolist()
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class Made(TorchFunctionMode):
    """`torch.tensor` reads its numbers where no dispatch is seen: here first, then it goes elsewhere."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == ELSEWHERE:
            return (
                args[0].to(**kwargs)
                if isinstance(args[0], torch.Tensor)
                else func(*args, **kwargs | {"device": "cpu"}).to(ELSEWHERE)
            )
        return func(*args, **kwargs)


class Elsewhere(TorchDispatchMode):
    """In the body there is such a device."""

    def __enter__(self):
        self.also = contextlib.ExitStack()
        self.also.enter_context(Made())
        supported = optimizer._get_fused_kernels_supported_devices
        self.also.enter_context(
            mock.patch.object(optimizer, supported.__name__, lambda: [*supported(), ELSEWHERE.type])
        )
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        return super().__enter__()

    def __exit__(self, *error):
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        super().__exit__(*error)
        self.also.close()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def indices(index):
    """An index with tensors in place of its lists."""
    if isinstance(index, tuple):
        return tuple(map(indices, index))
    return torch.tensor(index) if isinstance(index, list) else index


def require(allowed, func, tensors):
    if not allowed:
        shapes = [f"{tuple(t.shape)} {'elsewhere' if isinstance(t, Away) else 'on the cpu'}" for t in tensors]
        raise RuntimeError(f"{func} got tensors of two devices: {', '.join(shapes)}")


def run(func, args, kwargs):
    """The operation on the inner tensors, its results wrapped where they belong."""
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    away = [t for t in tensors if isinstance(t, Away)]
    here = [t for t in tensors if not isinstance(t, Away)]
    assert not any(t.is_meta for t in here), f"{func} got a tensor that was made elsewhere unseen"
    if func in COPIES or func in INDEXED:
        result_away = isinstance(args[0], Away)
        if func in INDEXED:  # a table here cannot be read by indices from elsewhere
            require(result_away or not away, func, tensors)
    else:
        require(not away or all(t.ndim == 0 for t in here), func, tensors)
        result_away = bool(away)
    if kwargs.get("device") is not None:
        result_away = kwargs["device"] == ELSEWHERE
    inside = {id(t.inner): t for t in away}

    def unwrapped(value):
        if isinstance(value, Away):
            return value.inner
        return torch.device("cpu") if isinstance(value, torch.device) else value

    def wrapped(value):
        if not isinstance(value, torch.Tensor):
            return value
        return inside.get(id(value)) if id(value) in inside else Away(value) if result_away else value

    return tree_map(wrapped, func(*tree_map(unwrapped, args), **tree_map(unwrapped, kwargs)))
