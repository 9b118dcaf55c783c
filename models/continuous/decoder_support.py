"""Which values a decoder can give: the support of its distribution, and what to do about other values."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution, constraints

from ...data.input_checks import describe_first_value
from ...data.traced_rows import plain_rows

# what a column may hold, by the support of its distribution, and what to do about other values
CURES: dict[type, tuple[str, str]] = {
    type(constraints.boolean): (
        "0 or 1",
        ": binarise grey pixels, best with Binarized(x), which draws them at each reading, or take a "
        "ContinuousBernoulliDecoder for them",
    ),
    type(constraints.unit_interval): ("numbers in [0, 1]", ": divide pixels by their largest value, such as 255"),
    constraints.integer_interval: ("the code of a category, 0, 1, ... below the levels of its column", ""),
    type(constraints.nonnegative_integer): ("counts, 0, 1, 2, ...", ""),
    type(constraints.positive): ("positive numbers", ""),
}


def fixed_support(one: Distribution, other: Distribution) -> Any:
    """The support of both distributions as a constraint of each value, where it has one.

    None where the support varies with z or from column to column.
    """
    support: Any = one.support  # type: ignore[reportAttributeAccessIssue]
    beside: Any = other.support  # type: ignore[reportAttributeAccessIssue]
    while isinstance(support, constraints.independent):
        support, beside = support.base_constraint, beside.base_constraint
    for name in ("lower_bound", "upper_bound"):
        # torch has no common class of constraints with a bound
        bound, other_bound = getattr(support, name, 0.0), getattr(beside, name, 0.0)
        if not torch.equal(torch.as_tensor(bound), torch.as_tensor(other_bound)):
            return None
        if isinstance(bound, Tensor) and bound.ndim:
            if not (bound == bound.flatten()[0]).all():
                return None
            support = copy.copy(support)
            setattr(support, name, bound.flatten()[0])
    return support


def require_supported(
    support: Any,
    unsupported: Bool[Tensor, "n d"] | None,
    x: Float[Tensor, "n d"],
    columns: Sequence[Any] | None,
    numbers: Tensor | range | None,
) -> None:
    """Raise ValueError, naming the first, if some values of x are outside a support or `unsupported`.

    columns: names for the message; numbers: the row numbers of x in the table.
    """
    if support is None or support is constraints.real:
        return
    x = plain_rows(x)
    outside = ~support.check(x)
    if outside.ndim == 1:  # a constraint of whole rows, such as shares that sum to 1
        outside = outside.unsqueeze(1)
    outside = outside if unsupported is None else outside | unsupported
    if not outside.any():
        return
    expected, cure = CURES.get(type(support), (repr(support), ""))
    raise ValueError(f"{describe_first_value(outside, x, columns, numbers)}, expected {expected}{cure}")
