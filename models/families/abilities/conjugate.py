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

    It writes the four hooks below. `BayesianMixture` then fits it by variational Bayes without a guide. (A guide is the
    Pyro program for q that `SVI` fits.)

    Example:
        >>> import torch
        >>> from lowerbound.models import Conjugate, Poisson
        >>> family = Poisson(components=1, features=1)
        >>> isinstance(family, Conjugate)
        True
        >>> gain = family.gain(torch.tensor([4.0]), torch.tensor([[10.0]]))  # four rows with the sum 10
        >>> {name: value.item() for name, value in gain["rate"].items()}  # of Gamma(concentration, rate)
        {'concentration': 10.0, 'rate': 4.0}
    """

    is_conjugate = True

    def weak_belief(self, data: Moments) -> dict[str, Distribution]:
        """Weak priors of the parameters, by name, in the units of the data.

        They must not depend on the number of components: bounds of log p(all rows) can then be compared.

        Args:
            data: Mean (d,) and covariance (d, d) of the rows.
        """
        raise not_written(self, "weak_belief", "for a conjugate posterior")

    def gain(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> dict[str, dict[str, Tensor]]:
        """What rows add to the hyperparameters of each parameter: posterior = prior + gain.

        Args:
            weight: Sums of responsibilities, in rows.
            total: Sums of r T(x).

        Returns:
            By parameter, and by hyperparameter, tensors with the component on dim 0.
        """
        raise not_written(self, "gain", "for a conjugate posterior")

    def expected(self, beliefs: Mapping[str, Any]) -> tuple[Family, Float[Tensor, " k"]]:
        """The family at the expected natural parameters E[eta], and A(E[eta]) - E[A] <= 0 of each component, in nats.

        E[log p(x | z = k)] is the log density of the first plus the second.

        Args:
            beliefs: The distributions of the parameters, by name, with the component on dim 0.
        """
        raise not_written(self, "expected", "for a conjugate posterior")

    def predictive(self, beliefs: Mapping[str, Any]) -> Distribution:
        """The posterior predictive distribution E[p(x | z = k)] of each component, of batch shape (k,).

        Args:
            beliefs: The distributions of the parameters, by name, with the component on dim 0.
        """
        raise not_written(self, "predictive", "for a conjugate posterior")
