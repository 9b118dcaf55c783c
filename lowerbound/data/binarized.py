"""Binary pixels drawn from grey ones, again at each reading."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from .input_checks import as_tensor


class Binarized(Dataset):
    """A Dataset of binary pixels: x[i] ~ Bernoulli(grey[i]), drawn again each time a row is read.

    This is the "dynamic binarization" of digits. `fit`, and everything else that takes a table, takes it. The draws use
    torch's global random state, so that a fit with one seed sees the same draws each time.

    Args:
        grey: (n, d) probabilities of a 1, in [0, 1]: tensor, NumPy array or DataFrame.

    Raises:
        ValueError: Some value is outside [0, 1].

    Example:
        >>> from lowerbound.data import Binarized
        >>> pixels = Binarized([[0.0, 1.0], [1.0, 0.0]])
        >>> len(pixels), pixels[0]
        (2, tensor([0., 1.]))

    References:
        Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", ICML 2008.
    """

    def __init__(self, grey: Any):
        self.grey: Float[Tensor, "n d"] = as_tensor(grey, dtype=torch.float32).detach()
        low, high = float(self.grey.min()), float(self.grey.max())
        if low < 0 or high > 1:
            raise ValueError(
                f"got pixels from {low:g} to {high:g}, expected shares from 0 to 1: divide them by their largest "
                "value, such as 255"
            )

    def __len__(self) -> int:
        return len(self.grey)

    def __getitem__(self, index: Any) -> Tensor:
        """The row or rows at an index, with a new draw."""
        return torch.bernoulli(self.grey[index])

    def __getitems__(self, index: Any) -> list[Tensor]:
        """Many rows in one draw: torch's DataLoader calls this for a batch."""
        return list(self[index])
