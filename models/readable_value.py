"""Values of parameters that NumPy and pandas take, though they have a gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import _functorch  # type: ignore[reportAttributeAccessIssue]

# what is computed from a value by these is a `ReadableValue`, too
VIEWS = ("T", "mT", "H", "mH")
METHODS = (
    *("__getitem__", "diagonal", "expand", "flatten", "movedim", "permute", "ravel", "repeat", "reshape", "select"),
    *("squeeze", "swapaxes", "t", "transpose", "unflatten", "unsqueeze", "view"),
    *("clone", "contiguous", "cpu", "double", "float", "to", "tril", "triu"),
    *("__neg__", "__abs__", "__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__"),
    *("__rtruediv__", "__pow__", "__rpow__", "__matmul__", "__rmatmul__"),
    *("abs", "add", "clamp", "cumsum", "div", "exp", "log", "log10", "matmul", "max", "mean", "min", "mul", "prod"),
    *("round", "sqrt", "square", "std", "sub", "sum", "var"),
)


class ReadableValue(Tensor):
    """A tensor with its gradient, of which `np.asarray`, `pd.DataFrame` and `print` read the numbers.

    So are its parts, its views and what simple arithmetic and methods such as `mean` make of it (`METHODS`). What
    functions of torch compute from it, as `torch.diag(value)`, is a plain tensor, as with `torch.nn.Parameter`: NumPy
    takes it after `.detach()`. Gradients flow through both.
    """

    __array_priority__ = -1.0  # so that `array * value` is NumPy's own, an array
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[reportAttributeAccessIssue]

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The numbers, without the gradient."""
        return self.detach().numpy(force=force)

    def __iter__(self) -> Iterator[Tensor]:
        return map(readable, super().__iter__())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.detach().cpu().numpy(), dtype=dtype, copy=copy)

    def __format__(self, spec: str) -> str:
        return format(self.detach(), spec)

    def __repr__(self) -> str:  # type: ignore[override]
        return repr(self.detach())


def readable(value: Any) -> Any:
    """The same values, with the same gradient, as `ReadableValue` if they need it."""
    if type(value) not in (Tensor, torch.nn.Parameter) or not value.requires_grad:
        return value  # others' subclasses, and what is no tensor, stay what they are
    if _functorch.is_functorch_wrapped_tensor(value):  # so do tensors under torch.func
        return value
    made = value.as_subclass(ReadableValue)
    if "unconstrained" in vars(value):  # Pyro's reference to the parameter behind it
        made.unconstrained = value.unconstrained  # type: ignore[reportAttributeAccessIssue]
    return made


def _readable_result(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, with a result that is readable."""

    @wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        return readable(method(*args, **kwargs))

    return run


for _name in (*METHODS, *VIEWS):
    _own = getattr(Tensor, _name)  # getattr: the names are a list
    _method = _readable_result(_own if callable(_own) else _own.__get__)
    setattr(ReadableValue, _name, _method if callable(_own) else property(_method))
