"""Grey pixels as chances: black and white ones, drawn anew at each reading."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from .input_checks import as_tensor


class Binarized(Dataset):
    """x[i] ~ Bernoulli(grey[i]), drawn anew each time a row is read, as for "dynamically binarised" digits.

    grey: (n, d) in [0, 1]: tensor, numpy array or DataFrame. A draw comes from torch's random state, so that a fit of
    one seed sees the same draws each time. Fits, and everything else that takes a table, read it in whole batches.
    Salakhutdinov & Murray, ICML 2008; Burda, Grosse & Salakhutdinov, ICLR 2016.
    """

    def __init__(self, grey: Any):
        self.grey: Float[Tensor, "n d"] = as_tensor(grey, dtype=torch.float32)
        low, high = float(self.grey.min()), float(self.grey.max())
        if low < 0 or high > 1:
            raise ValueError(
                f"got pixels from {low:g} to {high:g}, expected shares from 0 to 1: divide them by their largest "
                "value, such as 255"
            )

    def __len__(self) -> int:
        return len(self.grey)

    def __getitem__(self, index: Any) -> Tensor:
        """The row or rows of an index, drawn."""
        return torch.bernoulli(self.grey[index])

    def __getitems__(self, index: Any) -> list[Tensor]:
        """How torch asks for many rows at once: drawn together."""
        return list(self[index])
