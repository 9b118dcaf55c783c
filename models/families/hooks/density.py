"""The density of a family: log p(x | z = k), and which rows it can give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution, constraints

from ....data.traced_rows import plain_rows
from ...module import Recorded


class Density(Recorded):
    """p(x | z = k, theta[k]) for k = 0 .. K - 1."""

    expects: str = "values that the distribution can give"  # what rows may hold, for the message if they do not
    is_numeric: bool = False  # whether rows hold numbers, of which the codes of categories are none
    takes_missing: bool = False  # whether rows may have missing values: the ability `TakesMissing` says so

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z), written by every family.

        Args:
            z: Indices of components, of any shape; `...` stands for all k of them.

        Returns:
            A distribution of `pyro.distributions` with the batch shape of `z` and event shape (d,).
        """
        raise not_written(self, "component")

    @property
    def components(self) -> int:
        """k, the number of components."""
        return self._shape[0]

    @property
    def features(self) -> int:
        """d, the number of columns of x."""
        return self._shape[1]

    @property
    def numeric_columns(self) -> Sequence[int]:
        """The columns that hold numbers, where categories are refused."""
        return range(self.features) if self.is_numeric else ()

    @property
    def _shape(self) -> tuple[int, int]:
        """k and d. Raises ValueError if `component` is not a distribution of k rows."""
        component: Any = self.component()
        batch, event = tuple(component.batch_shape), tuple(component.event_shape)
        if len(batch) != 1 or len(event) != 1:
            cure = ": columns become one by .to_event(1)" if len(event) == 0 else ""
            raise ValueError(
                f"{type(self).__name__}: component() has batch shape {batch} and event shape {event}, expected "
                f"(components,) and (columns,){cure}"
            )
        return batch[0], event[0]

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(x | z = k) in nats, differentiable in the parameters. By default `component().log_prob`."""
        return self.component().log_prob(x.unsqueeze(-2))

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Which values no component can give, such as negative counts; None if there are none. For a missing value
        the answer does not matter. By default those outside the support of `component()`."""
        support: Any = self.component().support
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        if support is constraints.real or support is constraints.real_vector:
            return None
        inside = support.check(x.unsqueeze(-2)).expand(len(x), -1, *x.shape[1 : 2 - support.event_dim]).any(1)
        return ~inside.reshape(len(x), -1).expand_as(x)

    def unsupported(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Which values are `outside`, or missing where the family takes no missing values; None if there are none."""
        outside, missing = self.outside(x), x.isnan()
        if not missing.any():
            return outside
        outside = torch.zeros_like(missing) if outside is None else outside
        return outside & ~missing if self.takes_missing else outside | missing

    def nan_if_unsupported(self, x: Float[Tensor, "n d"]) -> float:
        """NaN if some value is `unsupported`, else 0. Added to the sums of a pass, it marks them as invalid."""
        unsupported = self.unsupported(x)
        return 0.0 if unsupported is None or not unsupported.any() else torch.nan


def never_where_overflowed(log_prob: Float[Tensor, "n k"], x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """log p(x | z = k) with -inf in place of NaN and infinity. Of finite rows it is that if terms beyond the range of
    floating-point numbers were subtracted: so far in a tail that the density is 0 to rounding. Rows with NaN stay."""
    if bool((plain_rows(log_prob) < torch.inf).all()):
        return log_prob
    return torch.where(~(log_prob < torch.inf) & x.isfinite().all(-1, keepdim=True), -torch.inf, log_prob)


def not_written(family: Any, method: str, purpose: str = "") -> NotImplementedError:
    """The error for a hook that a family does not write but needs."""
    return NotImplementedError(f"{type(family).__name__} does not write {method}(): a Family must {purpose}".rstrip())
