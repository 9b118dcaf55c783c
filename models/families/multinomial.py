"""Multinomial components: rows of counts over the same categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Dirichlet, Distribution

from ...data.moments import Moments
from ..kernels.multinomial_density import multinomial_log_prob
from ..kernels.special_functions import log_factorial
from ..kernels.visit import Visit
from ..module import require_size
from .abilities import Conjugate, SideBySide
from .conjugate_priors import Prior, Priors
from .count_checks import COUNTS, invalid_counts
from .exponential_family import ExponentialFamily
from .family import Family, Profile
from .hooks.density import never_where_overflowed
from .hooks.e_step import EStep
from .multinomial_draws import DirichletMultinomialDraws, MultinomialDraws
from .probability_constraints import Simplexes, log_simplexes

PRECISE = 10**6  # average sums above this lose digits of x log p that a fit needs


class Multinomial(ExponentialFamily, Conjugate, SideBySide):
    """Counts over d categories, given their sum n: p(x | n, z = k) = n! product over d of probs[k, d]^x[d] / x[d]!.

    The sum of a row is not modelled, and may differ from row to row.

    Parameter: `probs` (k, d), the probability of each category.

    Args:
        components: k, the number of components.
        features: d, the number of categories, at least 2.
        trials: The sum of rows that are drawn, and that `moments` describes. None takes the average sum of the data,
            rounded.
        prior: None for maximum likelihood; a `torch.distributions.Dirichlet`; or "weak", which adds 1 / k count, spread
            evenly.

    Raises:
        ValueError: An argument has another value than those above.

    Example:
        >>> import torch
        >>> from lowerbound.models import Multinomial
        >>> family = Multinomial(components=1, features=2)
        >>> family.match(torch.tensor([[3.0, 1.0]]))  # average counts
        >>> family.probs.detach().numpy().round(6)
        array([[0.75, 0.25]])
        >>> round(family.log_prob(torch.tensor([[1.0, 1.0]]).double()).exp().item(), 6)  # 2 * 0.75 * 0.25
        0.375
    """

    expects = COUNTS
    is_numeric = True
    probs: Tensor
    probs_unconstrained: Tensor
    trials: Tensor
    mask: Tensor

    def __init__(self, components: int, features: int, trials: int | None = None, prior: Prior = None):
        super().__init__()
        require_size(components=components, features=features, trials=1 if trials is None else trials)
        if features < 2:
            raise ValueError("features is 1, expected at least 2 categories: given its sum, a single count is certain")
        mask = torch.ones(1, features, dtype=torch.bool)
        self.shared = frozenset({"trials", "mask"})
        self.learns_trials = trials is None
        self.register_buffer("trials", torch.tensor(trials or 1))
        self.register_buffer("mask", mask, persistent=False)
        even = torch.full((components, features), 1 / features, dtype=torch.float64)
        self.probs = PyroParam(even, Simplexes(mask[0]))  # type: ignore[assignment]
        self.priors = Priors(prior, {"probs": (Dirichlet, (features,))})
        if self.priors.is_weak:
            self.priors["probs"] = Dirichlet(1 + even[0] / components)

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): counts of `trials` draws. Its log_prob is right for rows of any sum."""
        probs = self._log_probs()[z].exp()
        return MultinomialDraws(int(self.trials), probs, validate_args=False)

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """T(x) = x."""
        return x

    def match(self, mean: Float[Tensor, "k d"]) -> None:
        """Probabilities = shares of all counts. A component without counts keeps its probabilities."""
        count = mean.sum(-1, keepdim=True)
        self.probs = torch.where(count > 0, mean / count.clamp(min=1e-300), self.probs.detach())

    def natural(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
        """eta = log probs, A = 0."""
        eta = self._log_probs()
        return eta, eta.new_zeros(len(eta))

    def carrier(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """log of the number of orders that give these counts, n! / product of x!."""
        return log_factorial(x.sum(-1)) - log_factorial(x).sum(-1)

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(x | z = k) in nats, differentiable in the parameters; -inf where the probability is 0."""
        if self.trials <= PRECISE or "natural" in vars(self):  # those expected under a posterior do not sum to 1
            return super().log_prob(x)
        return never_where_overflowed(multinomial_log_prob(x, self._log_probs()), x)

    def visit(self) -> Visit:
        """The compiled pass, or for large sums the density that keeps its digits."""
        return super().visit() if self.trials <= PRECISE or "natural" in vars(self) else EStep.visit(self)

    def pseudo_rows(self) -> tuple[Tensor, Tensor] | None:
        """A Dirichlet adds concentration - 1 counts. Their weight in rows does not matter."""
        if not self.priors:
            return None
        total = self.priors.hyperparameter("probs", "concentration") - 1
        return torch.ones_like(total), total

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Set `trials` to the average sum of a row."""
        if self.learns_trials:
            self.trials = data.mean.sum().round().clamp(min=1).long()

    def weak_belief(self, data: Moments) -> dict[str, Distribution]:
        """Dirichlet(1, ..., 1): uniform."""
        return {"probs": Dirichlet(torch.ones_like(data.mean))}

    def gain(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> dict[str, dict[str, Tensor]]:
        """To a Dirichlet: the counts of each category."""
        return {"probs": {"concentration": total}}

    def expected(self, beliefs: Mapping[str, Any]) -> tuple[Family, Float[Tensor, " k"]]:
        """The family at eta = E[log probs]. exp(eta) sums to less than 1, so that `natural` is replaced as well."""
        alpha = beliefs["probs"].concentration
        logs = torch.digamma(alpha) - torch.digamma(alpha.sum(-1, keepdim=True))
        view = self.at({"probs_unconstrained": logs})
        vars(view)["natural"] = lambda: (logs, logs.new_zeros(len(logs)))
        return view, logs.new_zeros(len(logs))

    def predictive(self, beliefs: Mapping[str, Any]) -> Distribution:
        """Dirichlet-multinomial rows."""
        return DirichletMultinomialDraws(beliefs["probs"].concentration, int(self.trials), validate_args=False)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Values that are not counts."""
        return invalid_counts(x)

    def moments(self) -> Moments:
        """Means n p and covariances n (diag(p) - p p') of `trials` counts."""
        p, n = self.probs.detach(), self.trials
        return Moments(n * p, n * (torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)))

    def profiles(self) -> list[Profile]:
        """The share of each category."""
        return [Profile("share", self.probs.detach(), range(self.features))]

    def _log_probs(self) -> Float[Tensor, "k d"]:
        return log_simplexes(self.probs_unconstrained, self.mask[0])
