"""Ability: a posterior of the parameters in closed form, for `BayesianMixture`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from ....data.moments import Moments
from ..family import Family
from ..hooks.density import not_written


class Conjugate(Family):
    """A family whose parameters have conjugate priors of the kinds that its `priors` names (Beta, Dirichlet, Gamma).

    It writes the four hooks below. `BayesianMixture` then fits it by variational Bayes without a guide.
    """

    is_conjugate = True

    def weak_belief(self, data: Moments) -> dict[str, Distribution]:
        """Weak priors of the parameters, by name, in the units of the data. They do not depend on the number of
        components, so that bounds of log p(all rows) can be compared."""
        raise not_written(self, "weak_belief", "for a conjugate posterior")

    def gain(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> dict[str, dict[str, Tensor]]:
        """What rows add to the hyperparameters of each parameter: posterior = prior + gain."""
        raise not_written(self, "gain", "for a conjugate posterior")

    def expected(self, beliefs: Mapping[str, Any]) -> tuple[Family, Float[Tensor, " k"]]:
        """The family at eta = E[eta], and A(E[eta]) - E[A] <= 0 of each component, in nats.

        E[log p(x | k)] is the log density of the first plus the second.

        Args:
            beliefs: the distributions of the parameters, by name.
        """
        raise not_written(self, "expected", "for a conjugate posterior")

    def predictive(self, beliefs: Mapping[str, Any]) -> Distribution:
        """E[p(x | k)] of each component: a distribution of batch shape (k,)."""
        raise not_written(self, "predictive", "for a conjugate posterior")
