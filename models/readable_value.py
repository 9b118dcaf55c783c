"""Values of parameters that NumPy and pandas take, though they have a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import _functorch  # type: ignore[reportAttributeAccessIssue]


class ReadableValue(Tensor):
    """A tensor with its gradient, of which `np.asarray`, `pd.DataFrame` and `print` read the numbers.

    So are its parts. As with `torch.nn.Parameter`, what torch computes from it is a plain tensor, and gradients flow.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[reportAttributeAccessIssue]

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The numbers, without the gradient."""
        return self.detach().numpy(force=force)

    def __getitem__(self, index: Any) -> Tensor:
        return readable(super().__getitem__(index))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.detach().cpu().numpy(), dtype=dtype, copy=copy)

    def __repr__(self) -> str:  # type: ignore[override]
        return repr(self.detach())


def readable(value: Tensor) -> Tensor:
    """The same values, with the same gradient, as `ReadableValue` if they need it."""
    plain = type(value) in (Tensor, torch.nn.Parameter) and not _functorch.is_functorch_wrapped_tensor(value)
    if not plain or not value.requires_grad:  # others' subclasses, and tensors under torch.func, stay what they are
        return value
    made = value.as_subclass(ReadableValue)
    if "unconstrained" in vars(value):  # Pyro's reference to the parameter behind it
        made.unconstrained = value.unconstrained  # type: ignore[reportAttributeAccessIssue]
    return made
