"""What is believed about the parameters theta of a family's members: before the data, and in closed form after them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.distributions import Distribution

from ...data.moments import Moments
from ..families.family import Family
from ..module import Recorded
from .parameter_sites import Sites, Theta, reorder_components


class PriorAndPosterior(Recorded):
    """The prior p(theta) of k members of a family, and the family at any theta.

    likelihood: the family, of which only what is no parameter counts; shared: sites that all members have in common,
    while others have the component on dim 0. PriorAndPosterior that are `conjugate` also hold a posterior q(theta) of the prior's
    kind, with hyperparameters as `PyroParam`s, and all that variational Bayes needs of it in closed form.
    """

    likelihood: Family
    conjugate: bool
    shared: frozenset[str] = frozenset()

    @property
    def components(self) -> int:
        """k, the number of members."""
        raise NotImplementedError

    def prior(self, theta: Theta) -> Sites:
        """The sites and their distributions; those of later ones may read the values of earlier ones in theta."""
        raise NotImplementedError

    def supports(self) -> dict[str, tuple[Any, torch.Size]]:
        """The constraint and the shape of each site, measured in the units of the data where there are some."""
        raise NotImplementedError

    def values(self, theta: Theta) -> Theta:
        """Values of the family's parameters, by their paths."""
        raise NotImplementedError

    def family_at(self, theta: Theta) -> Family:
        """The family at these parameters."""
        return self.likelihood.at(self.values(theta))

    def start(
        self, x: Float[Tensor, "n d"], share: Float[Tensor, "n k"], locations: Tensor | None, data: Moments
    ) -> Theta:
        """Learn the units of the data, and where theta may begin: from some rows and the share of each member in
        them."""
        raise NotImplementedError

    def set_units(self, data: Moments) -> None:
        """Learn units and a weak prior from other data; keeps q."""

    def relabel(self, theta: Theta, order: Int[Tensor, "*s k"]) -> Theta:
        """theta with member j the former member order[j]; (s, k) orders for s draws of theta."""
        return {
            name: value if name in self.shared else reorder_components(value, order) for name, value in theta.items()
        }

    def exchangeable(self) -> Bool[Tensor, "k k"]:
        """Which members may exchange their parameters without a change of the prior density: all, as written here."""
        return torch.ones(self.components, self.components, dtype=torch.bool)

    # of conjugate ones

    def posterior(self, theta: Theta) -> Sites:
        """The sites of q(theta)."""
        raise NotImplementedError

    def expected(self) -> tuple[Family, Float[Tensor, " k"]]:
        """A family and a number of nats for each member with E_q[log p(x | k)] = its log density plus the number."""
        raise NotImplementedError

    def mean(self) -> Theta:
        """E_q[theta], for tables and pictures (of a covariance the inverse of the expected precision)."""
        raise NotImplementedError

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> None:
        """The posterior of rows with these sums: hyperparameters = those of the prior + statistics."""
        raise NotImplementedError

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """`total` of before the last `maximize`, as it would be measured now."""
        return total

    def divergence(self) -> Float[Tensor, ""]:
        """KL(q(theta) || p(theta)) in nats, differentiable in the hyperparameters."""
        raise NotImplementedError

    def predictive(self, z: Any = ...) -> Distribution:
        """E_q[p(x | z)], with batch shape that of z."""
        raise NotImplementedError

    def predictive_log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log E_q[p(seen cells of x | z = k)] in nats."""
        raise NotImplementedError

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the members in place."""
        for name in self._pyro_params:
            if name not in self.shared:
                parameter = getattr(self, f"{name}_unconstrained")
                parameter.data = parameter.data[order]
