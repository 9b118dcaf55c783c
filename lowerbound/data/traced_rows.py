"""The rows behind a table that one of torch's function transforms (`torch.func.grad`, `vmap`) is tracing.

Under `vmap` torch refuses to branch on a value. What is decided once for all rows, such as whether a table has missing
values, is decided on the rows of the whole batch.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

# the only way to ask: torch.func has no public function for it
from torch._C import _functorch  # type: ignore[reportAttributeAccessIssue]


def plain_rows(x: Tensor) -> Tensor:
    """The rows of x, without gradient; under `vmap` the rows of the whole batch, one after the other."""
    while _functorch.is_functorch_wrapped_tensor(x):
        batch = _functorch.maybe_get_bdim(x)
        x = _functorch.get_unwrapped(x)
        x = x.movedim(batch, 0) if batch >= 0 else x
    return (x.flatten(0, -2) if x.ndim > 2 else x).detach()


def is_batched(x: Tensor) -> bool:
    """Whether x is one of many under `vmap`: shapes and branches must then not depend on its values."""
    while _functorch.is_functorch_wrapped_tensor(x):
        if _functorch.is_batchedtensor(x):
            return True
        x = _functorch.get_unwrapped(x)
    return False


def any_missing(x: Float[Tensor, "*n d"]) -> bool:
    """Whether x has a missing value (NaN).

    Raises ValueError under `vmap` if so, because rows with missing values are sorted by the columns that they lack.
    """
    missing = bool(plain_rows(x).isnan().any())
    if missing and is_batched(x):
        raise ValueError(
            "got missing values (NaN) under torch.func.vmap, expected complete rows: leave vmap out, as all methods "
            "take many rows at once"
        )
    return missing
