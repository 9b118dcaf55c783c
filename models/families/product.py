"""Product: a different family for each group of columns, for tables of mixed types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from pyro.nn import PyroModule
from torch import Tensor
from torch.distributions import Distribution

from ...data.moments import Moments
from ..kernels.visit import Summarize, Visit
from .abilities import HasExpectedLogProb, SideBySide, TakesMissing
from .family import Family, Profile
from .joint_distribution import JointDistribution
from .missing_values import log_prob_and_sums


class Product(TakesMissing, SideBySide, HasExpectedLogProb):
    """Groups of columns that are independent within a component: p(x | z = k) = product over groups g of p_g(x_g | k).

    families: one `Family` for each group, all with the same number of components; columns: the data columns of each
    group, by default in turn. Product(Gaussian(3, 2), Poisson(3, 1), Categorical(3, [2, 4])) is for two measurements, a
    count and two categories. Parameters: those of `.parts[g]`.
    """

    def __init__(self, *families: Family, columns: Sequence[Sequence[int]] | None = None):
        super().__init__()
        wrong = [f for f in families if not isinstance(f, Family)]
        if wrong or not families:
            got = type(wrong[0]).__name__ if wrong else "nothing"
            raise TypeError(f"got {got}, expected families such as Gaussian(3, 2), Poisson(3, 1)")
        if len(set(map(id, families))) < len(families):
            raise ValueError("got one family twice, expected one object for each group of columns: make two")
        sizes = [family.components for family in families]
        if len(set(sizes)) > 1:
            raise ValueError(f"the families have {sizes} components, expected the same number")
        widths = [family.features for family in families]
        if columns is None:
            columns = [g.tolist() for g in torch.arange(sum(widths)).split(widths)]
        got = [len(group) for group in columns]
        if got != widths or sorted(j for group in columns for j in group) != list(range(sum(widths))):
            raise ValueError(
                f"columns is {columns!r}, expected the columns 0 .. {sum(widths) - 1} each once, in groups of {widths}"
            )
        self.parts = PyroModule[torch.nn.ModuleList](families)  # type: ignore[reportArgumentType]
        self.columns = tuple(tuple(int(j) for j in group) for group in columns)
        self.generalized = any(family.generalized for family in families)
        self.takes_missing = any(family.takes_missing for family in families)
        self.repeatable = all(family.repeatable for family in families)

    @property
    def components(self) -> int:
        """k, the number of members."""
        return self._families[0].components

    @property
    def features(self) -> int:
        """d, the number of columns of x."""
        return sum(map(len, self.columns))

    @property
    def expects(self) -> str:  # type: ignore[override]
        """What each group may hold."""
        return "; ".join(
            f"in column{'s' if len(group) > 1 else ''} {', '.join(map(str, group))} {family.expects}"
            for family, group in zip(self._families, self.columns, strict=True)
        )

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): the groups side by side."""
        return JointDistribution([family.component(z) for family in self._families], self.columns)

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """T(x): those of each group in turn."""
        return torch.cat([family.statistics(y) for family, y in self._each(x)], -1)

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """Each group from its own statistics."""
        for family, part in self._split(mean):
            family.match(part)

    @property
    def block_rows(self) -> int:
        """The least of the groups'."""
        return min(family.block_rows for family in self._families)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """What is impossible in its group."""
        return self._cells([family.outside(y) for family, y in self._each(x)], x)

    def unsupported(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """What its group refuses: one may take missing cells where another does not."""
        return self._cells([family.unsupported(y) for family, y in self._each(x)], x)

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Sum of the groups' log p(x_g | z = k), in nats."""
        return torch.as_tensor(sum(family.log_prob(y) for family, y in self._each(x)))

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """The sums of each group in turn."""
        return torch.cat([family.summarize(y, responsibilities) for family, y in self._each(x)], -1)

    def visit_missing(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Summarize]:
        """Sum of the groups' log p(seen cells of x_g | z = k), in nats, and the expected sums of each group in turn."""
        looks = [log_prob_and_sums(family, y) for family, y in self._each(x)]
        log_prob = torch.as_tensor(sum(part for part, _ in looks))
        return log_prob, lambda r: torch.cat([summarize(r) for _, summarize in looks], -1)

    def moments_given(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k d"]]:
        """Means and variances of the groups, with their columns in their places."""
        means = x.new_empty(len(x), self.components, self.features)
        variances = torch.empty_like(means)
        for (family, y), group in zip(self._each(x), self.columns, strict=True):
            means[..., list(group)], variances[..., list(group)] = family.moments_given(y)
        return means, variances

    def draw_missing(self, x: Float[Tensor, "n d"], z: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """Those of each group."""
        drawn = x.clone()
        for (family, y), group in zip(self._each(x), self.columns, strict=True):
            drawn[:, list(group)] = family.draw_missing(y, z)
        return drawn

    def visit(self) -> Visit:
        """The passes of the groups, side by side."""
        return self._beside([family.visit() for family in self._families])

    def visit_in(self, dtype: torch.dtype) -> Visit:
        """The same in another precision."""
        return self._beside([family.visit_in(dtype) for family in self._families])

    def _beside(self, visits: Sequence[Visit]) -> Visit:

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
        for family, part in self._split(total):
            family.maximize(weight, part) if length == 1 else family.maximize(weight, part, length)

    def expected_log_prob(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, " k"]:
        """Sum of the groups'."""
        return torch.stack([family.expected_log_prob(weight, part) for family, part in self._split(total)]).sum(0)

    def fixed_location(self) -> Float[Tensor, "k d"] | None:
        """Those of the groups, if all are frozen."""
        each = [family.fixed_location() for family in self._families]
        known = [place for place in each if place is not None]
        if len(known) < len(each):
            return None
        return torch.cat(known, -1)[:, torch.tensor([j for group in self.columns for j in group]).argsort()]

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """Those of each group."""
        return torch.cat([family.remeasure(weight, part) for family, part in self._split(total)], -1)

    def start(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> None:
        """The start of each group."""
        for family, y in self._each(x):
            family.start(y, responsibilities)

    def coordinates(self, x: Float[Tensor, "n d"], data: Moments) -> Float[Tensor, "n c"]:
        """Those of each group in turn."""
        return torch.cat(
            [family.coordinates(y, own) for (family, y), own in zip(self._each(x), self._shares(data), strict=True)], -1
        )

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """The units and places of each group."""
        for family, group, own in zip(self._families, self.columns, self._shares(data), strict=True):
            try:
                family.set_units(None if centres is None else centres[:, list(group)], own)
            except ValueError as error:
                raise ValueError(f"in the group of columns {list(group)}: {error}") from None

    def moments(self) -> Moments:
        """Mean (k, d) and covariance (k, d, d) of each member, 0 between groups."""
        k, d = self.components, self.features
        mean, covariance = torch.zeros(k, d, dtype=torch.float64), torch.zeros(k, d, d, dtype=torch.float64)
        for family, group in zip(self._families, self.columns, strict=True):
            own, index = family.moments(), torch.tensor(group)
            mean[:, index] = own.mean
            covariance[:, index.unsqueeze(-1), index] = own.covariance
        return Moments(mean, covariance)

    def profiles(self) -> list[Profile]:
        """Those of each group, with their columns in the whole table."""
        return [
            Profile(
                p.kind if -1 not in p.columns else f"{p.kind} of columns {', '.join(map(str, group))}",
                p.values,
                [group[j] if j >= 0 else -1 for j in p.columns],
                p.levels,
            )
            for family, group in zip(self._families, self.columns, strict=True)
            for p in family.profiles()
        ]

    def log_prior(self) -> Float[Tensor, "*copies"]:
        """Sum of the groups' log prior densities."""
        return torch.as_tensor(sum(family.log_prior() for family in self._families))

    def collapsed(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """Which members have collapsed in some group."""
        return torch.stack([family.collapsed(weights) for family in self._families]).any(0)

    def permute(self, order: Tensor) -> None:
        """Relabel the members of all groups."""
        for family in self._families:
            family.permute(order)

    # inside

    @property
    def _families(self) -> list[Family]:
        return list(self.parts)  # type: ignore[arg-type]

    def _each(self, x: Tensor) -> list[tuple[Family, Tensor]]:
        """Each family with its columns of x."""
        return [(f, x[:, list(group)]) for f, group in zip(self._families, self.columns, strict=True)]

    def _cells(self, parts: Sequence[Tensor | None], x: Tensor) -> Bool[Tensor, "n d"]:
        """What is wrong with the cells of each group, in the columns of the table."""
        bad = torch.zeros_like(x, dtype=torch.bool)
        for cells, group in zip(parts, self.columns, strict=True):
            if cells is not None:
                bad[:, list(group)] = cells
        return bad

    def _shares(self, data: Moments) -> list[Moments]:
        """The moments of each group."""
        return [Moments(data.mean[list(g)], data.covariance[list(g)][:, list(g)]) for g in self.columns]

    def _split(self, total: Tensor) -> list[tuple[Family, Tensor]]:
        """Each family with its statistics, (k, s) of the whole cut into those of the groups."""
        no_rows = total.new_ones(0, self.features), total.new_ones(0, self.components)
        sizes = [f.summarize(y, no_rows[1]).shape[1] for f, y in self._each(no_rows[0])]
        return list(zip(self._families, total.split(sizes, -1), strict=True))
