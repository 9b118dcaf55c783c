"""The base class of the prior p(theta) of a family's parameters and, where it is conjugate, the posterior q(theta)."""

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
    """The prior of the parameters theta of a family's k components and, if it is `conjugate`, a posterior q(theta).

    The posterior is of the same kind as the prior. Its hyperparameters are `PyroParam`s of this module, and it has in
    closed form all that variational Bayes needs. A subclass writes the first group of methods; one that is conjugate
    writes the second group as well.

    Attributes:
        likelihood: The family. Its parameters do not matter, unless a subclass says that it keeps q's in them.
        conjugate: Whether this object has a posterior.
        shared: Names of sites with one value for all components. Others have the component on dim 0.
    """

    likelihood: Family
    conjugate: bool
    shared: frozenset[str] = frozenset()

    @property
    def components(self) -> int:
        """k, the number of components."""
        raise NotImplementedError

    # the prior

    def prior(self, theta: Theta) -> Sites:
        """The sites of p(theta): names and distributions. Later ones may depend on earlier values, read in theta."""
        raise NotImplementedError

    def supports(self) -> dict[str, tuple[Any, torch.Size]]:
        """The constraint and the shape of each site. Unconstrained coordinates are in units of the data."""
        raise NotImplementedError

    def values(self, theta: Theta) -> Theta:
        """The values of the family's parameters at theta, by their paths in the family."""
        raise NotImplementedError

    def family_at(self, theta: Theta) -> Family:
        """The family with the parameters theta."""
        return self.likelihood.at(self.values(theta))

    def start(
        self, x: Float[Tensor, "n d"], share: Float[Tensor, "n k"], locations: Tensor | None, data: Moments
    ) -> Theta:
        """Learn the units of the data, and a first theta from some rows and their responsibilities, `share`."""
        raise NotImplementedError

    def set_units(self, data: Moments) -> None:
        """Learn units and a weak prior from other data. q stays the same distribution."""

    def relabel(self, theta: Theta, order: Int[Tensor, "*s k"]) -> Theta:
        """theta with component j the former component order[j]; (s, k) orders for s draws of theta."""
        return {
            name: value if name in self.shared else reorder_components(value, order) for name, value in theta.items()
        }

    def exchangeable(self) -> Bool[Tensor, "k k"]:
        """Which pairs of components have the same prior: all, unless a subclass says otherwise."""
        return torch.ones(self.components, self.components, dtype=torch.bool)

    # the posterior, if it is conjugate

    def posterior(self, theta: Theta) -> Sites:
        """The sites of q(theta), as in `prior`."""
        raise NotImplementedError

    def expected(self) -> tuple[Family, Float[Tensor, " k"]]:
        """A family and, for each component, a number of nats: E_q[log p(x | k)] = the family's log density + number."""
        raise NotImplementedError

    def mean(self) -> Theta:
        """E_q[theta], for tables and plots; for a covariance the inverse of the expected precision."""
        raise NotImplementedError

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> None:
        """Set q to the posterior given these statistics: hyperparameters = those of the prior + statistics."""
        raise NotImplementedError

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """`total` from before the last `maximize`, as the family would compute it now (about new origins)."""
        return total

    def divergence(self) -> Float[Tensor, ""]:
        """KL(q(theta) || p(theta)) in nats, differentiable in the hyperparameters."""
        raise NotImplementedError

    def predictive(self, z: Any = ...) -> Distribution:
        """E_q[p(x | z)], with the batch shape of z; for all components by default."""
        raise NotImplementedError

    def predictive_log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log E_q[p(x | z = k)] in nats; missing values are integrated out."""
        raise NotImplementedError

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the components of q in place."""
        for name in self._pyro_params:
            if name not in self.shared:
                parameter = self.unconstrained(name)
                parameter.data = parameter.data[order]
