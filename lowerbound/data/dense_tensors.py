"""Tensors and arrays that hold their numbers in memory, one by one: what every table, weight and label must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def require_dense(x: Tensor, what: str = "a tensor") -> Tensor:
    """The tensor itself. Raises TypeError if its numbers are not in memory, one by one: sparse, quantized, on "meta".

    Args:
        x: Any tensor.
        what: Its name in the message.
    """
    kind = cure = ""
    if x.is_meta:
        kind, cure = 'on the device "meta", which holds no numbers', "make it on the CPU"
    elif x.is_nested:
        kind, cure = "nested", "pass rows of one length"
    elif x.layout != torch.strided:
        kind, cure = f"sparse ({str(x.layout).removeprefix('torch.')})", "pass x.to_dense()"
    elif x.is_quantized:
        kind, cure = "quantized", "pass x.dequantize()"
    if kind:
        raise TypeError(f"got {what} that is {kind}, expected a dense one: {cure}")
    return x


def regular_array(values: Any, what: str) -> np.ndarray:
    """`np.asarray`. Raises ValueError for nested lists whose parts differ in length.

    Args:
        values: An array, or nested lists of numbers.
        what: Its name in the message.
    """
    try:
        return np.asarray(values)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError(f"got {what} of lists that differ in length, expected the same length for all") from None
