"""Product: a different family for each group of columns, for tables of mixed types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.distributions import Distribution

from ...data.moments import Moments
from ..kernels.visit import Summarize, Visit
from .abilities import HasExpectedLogProb, SideBySide, TakesMissing
from .column_groups import ColumnGroups
from .family import Family, Profile
from .joint_distribution import JointDistribution
from .missing_values import log_prob_and_sums


class Product(ColumnGroups, TakesMissing, SideBySide, HasExpectedLogProb):
    """Groups of columns that are independent within a component: p(x | z = k) = product over groups g of p_g(x_g | k).

    For tables of mixed types: Product(Gaussian(3, 2), Poisson(3, 1), Categorical(3, [2, 4])) is for two measurements, a
    count and two categories. Parameters: those of the families `parts[g]`. It takes missing values where the family of
    their group does.

    Args:
        *families: a `Family` for each group, all with the same number of components.
        columns: the columns of the data in each group. By default the first family has the first columns, and so on.

    Raises:
        TypeError: if an argument is not a `Family`.
        ValueError: if the numbers of components differ, or columns does not name each column once.

    Example:
        >>> import torch
        >>> from lowerbound.models import Exponential, Poisson, Product
        >>> family = Product(Poisson(1, 1), Exponential(1, 1))
        >>> family.parts[0].rate = torch.tensor([[2.0]])
        >>> family.parts[1].rate = torch.tensor([[0.5]])
        >>> round(family.log_prob(torch.tensor([[0.0, 2.0]]).double()).item(), 3)  # -2 + log 0.5 - 0.5 * 2
        -3.693
    """

    def __init__(self, *families: Family, columns: Sequence[Sequence[int]] | None = None):
        super().__init__(*families, columns=columns)
        self.robust_start = any(family.robust_start for family in families)
        self.generalized = any(family.generalized for family in families)
        self.takes_missing = any(family.takes_missing for family in families)
        self.repeatable = all(family.repeatable for family in families)

    @property
    def expects(self) -> str:  # type: ignore[override]
        """What the columns of each group may hold."""
        return "; ".join(
            f"in column{'s' if len(group) > 1 else ''} {', '.join(map(str, group))} {family.expects}"
            for family, group in zip(self.families, self.columns, strict=True)
        )

    @property
    def numeric_columns(self) -> Sequence[int]:
        """Those of each group."""
        pairs = zip(self.families, self.columns, strict=True)
        return [group[j] for family, group in pairs for j in family.numeric_columns]

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): the groups side by side."""
        return JointDistribution([family.component(z) for family in self.families], self.columns)

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """T(x): those of each group in turn."""
        return torch.cat([family.statistics(y) for family, y in self.split_rows(x)], -1)

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """Each group from its own statistics."""
        for family, part in self.split_statistics(mean):
            family.match(part)

    @property
    def block_rows(self) -> int:
        """How many rows `visit` takes at a time: the smallest number of the groups."""
        return min(family.block_rows for family in self.families)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Which values the family of their group cannot give."""
        return self.join_masks([family.outside(y) for family, y in self.split_rows(x)], x)

    def unsupported(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Which values the family of their group does not accept: one may take missing values, another not."""
        return self.join_masks([family.unsupported(y) for family, y in self.split_rows(x)], x)

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Sum of the groups' log p(x_g | z = k), in nats."""
        return torch.as_tensor(sum(family.log_prob(y) for family, y in self.split_rows(x)))

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """The sums of each group in turn."""
        return torch.cat([family.summarize(y, responsibilities) for family, y in self.split_rows(x)], -1)

    def visit_missing(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Summarize]:
        """Sum of the groups' log p(observed values of x_g | z = k), and the expected sums of each group in turn."""
        visits = [log_prob_and_sums(family, y) for family, y in self.split_rows(x)]
        log_prob = torch.as_tensor(sum(part for part, _ in visits))
        return log_prob, lambda r: torch.cat([summarize(r) for _, summarize in visits], -1)

    def moments_given(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k d"]]:
        """Means and variances of each value, from the family of its group."""
        means = x.unsqueeze(1).repeat(1, self.components, 1)
        variances = torch.zeros_like(means)
        for (family, y), group in zip(self.split_rows(x), self.columns, strict=True):
            if family.takes_missing:  # else all values of the group are observed
                means[..., list(group)], variances[..., list(group)] = family.moments_given(y)
        return means, variances

    def draw_missing(self, x: Float[Tensor, "n d"], z: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """x with its missing values drawn, each group by its family."""
        drawn = x.clone()
        for (family, y), group in zip(self.split_rows(x), self.columns, strict=True):
            if family.takes_missing:
                drawn[:, list(group)] = family.draw_missing(y, z)
        return drawn

    def visit(self) -> Visit:
        """The passes of the groups, one after another on each block of rows."""
        return self._joined_visit([family.visit() for family in self.families])

    def visit_in(self, dtype: torch.dtype) -> Visit:
        """The passes of the groups in another precision."""
        return self._joined_visit([family.visit_in(dtype) for family in self.families])

    def _joined_visit(self, visits: Sequence[Visit]) -> Visit:

        def block(x: Tensor) -> tuple[Tensor, Summarize]:
            log_prob, sums = 0.0, []
            for visit, group in zip(visits, self.columns, strict=True):
                part, summarize = visit.block(x[:, list(group)])
                log_prob = log_prob + part
                sums.append((visit, summarize))
            return torch.as_tensor(log_prob), lambda r: torch.cat(
                [visit.collect(summarize(r)) for visit, summarize in sums], -1
            )

        return Visit(block)

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"], length: float = 1.0) -> None:
        """The M-step of each group."""
        for family, part in self.split_statistics(total):
            family.maximize(weight, part) if length == 1 else family.maximize(weight, part, length)

    def expected_log_prob(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, " k"]:
        """Sum of the expected log-likelihoods of the groups."""
        return torch.stack(
            [family.expected_log_prob(weight, part) for family, part in self.split_statistics(total)]
        ).sum(0)

    def fixed_location(self) -> Float[Tensor, "k d"] | None:
        """The locations of the groups, if all of them are frozen."""
        each = [family.fixed_location() for family in self.families]
        known = [location for location in each if location is not None]
        if len(known) < len(each):
            return None
        return torch.cat(known, -1)[:, torch.tensor([j for group in self.columns for j in group]).argsort()]

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """The sums of each group, as its family remeasures them."""
        return torch.cat([family.remeasure(weight, part) for family, part in self.split_statistics(total)], -1)

    def start(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> None:
        """The start of each group."""
        for family, y in self.split_rows(x):
            family.start(y, responsibilities)

    def coordinates(self, x: Float[Tensor, "n d"], data: Moments) -> Float[Tensor, "n c"]:
        """The coordinates of each group in turn."""
        return torch.cat(
            [
                family.coordinates(y, own)
                for (family, y), own in zip(self.split_rows(x), self.split_moments(data), strict=True)
            ],
            -1,
        )

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Set the units of each group. An error names the columns of its group."""
        for family, group, own in zip(self.families, self.columns, self.split_moments(data), strict=True):
            try:
                family.set_units(None if centres is None else centres[:, list(group)], own)
            except ValueError as error:
                raise ValueError(f"in the group of columns {list(group)}: {error}") from None

    def moments(self) -> Moments:
        """Mean (k, d) and covariance (k, d, d) of each component, 0 between groups."""
        k, d = self.components, self.features
        mean, covariance = torch.zeros(k, d, dtype=torch.float64), torch.zeros(k, d, d, dtype=torch.float64)
        for family, group in zip(self.families, self.columns, strict=True):
            own, index = family.moments(), torch.tensor(group)
            mean[:, index] = own.mean
            covariance[:, index.unsqueeze(-1), index] = own.covariance
        return Moments(mean, covariance)

    def profiles(self) -> list[Profile]:
        """The profiles of each group, with column numbers of the full table."""
        return [
            Profile(
                p.kind if -1 not in p.columns else f"{p.kind} of columns {', '.join(map(str, group))}",
                p.values,
                [group[j] if j >= 0 else -1 for j in p.columns],
                p.levels,
            )
            for family, group in zip(self.families, self.columns, strict=True)
            for p in family.profiles()
        ]

    @property
    def has_prior(self) -> bool:
        """Whether all groups have a prior."""
        return all(family.has_prior for family in self.families)

    def log_prior(self) -> Float[Tensor, "*copies"]:
        """Sum of the groups' log prior densities."""
        return torch.as_tensor(sum(family.log_prior() for family in self.families))

    def collapsed(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """(k,) the components that have collapsed in some group."""
        return torch.stack([family.collapsed(weights) for family in self.families]).any(0)

    def shrunk(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, "k d"]:
        """(k, d) the columns in which a component has shrunk onto one value, by the family of their group."""
        found = torch.zeros(len(weights), self.features, dtype=torch.bool, device=weights.device)
        for family, group in zip(self.families, self.columns, strict=True):
            found[:, list(group)] = family.shrunk(weights)
        return found

    def thinness(self, weights: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """(k,) that of the group in which a component is thinnest."""
        return torch.stack([family.thinness(weights) for family in self.families]).amin(0)

    @property
    def least_rows(self) -> int:
        """The rows that the most demanding group needs."""
        return max(family.least_rows for family in self.families)

    def dependent_columns(self, component: int) -> list[int]:
        """Those of the first group that has collapsed by itself."""
        one = torch.ones(self.components, dtype=torch.float64) / self.components
        for family, group in zip(self.families, self.columns, strict=True):
            if family.collapsed(one)[component]:
                return [group[i] for i in family.dependent_columns(component)]
        return []

    def permute(self, order: Tensor) -> None:
        """Relabel the components of all groups."""
        for family in self.families:
            family.permute(order)
