"""Mixture weights with a symmetric Dirichlet distribution as their prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints

from ..module import Recorded
from .kl_divergences import divergence
from .parameter_sites import Sites, Theta


class DirichletWeights(Recorded):
    """weights ~ Dirichlet(prior_concentration, ..., prior_concentration), and its posterior, which is a Dirichlet, too.

    A prior concentration below 1 empties superfluous components. Site: `weights` (k,). Hyperparameter of q, if the
    model is conjugate: `concentration` (k,) = that of the prior + the expected number of rows of each component.
    """

    concentration: Tensor
    exchangeable = True  # whether the prior is the same for every order of the components

    def __init__(self, components: int, concentration: float, conjugate: bool = True):
        super().__init__()
        self._k, self.prior_concentration, self.conjugate = components, float(concentration), conjugate
        if conjugate:
            start = torch.ones(components, dtype=torch.float64)
            self.concentration = PyroParam(start, constraints.positive)  # type: ignore[assignment]

    def prior(self, theta: Theta) -> Sites:
        """The site and its prior distribution."""
        yield "weights", dist.Dirichlet(torch.full((self._k,), self.prior_concentration, dtype=torch.float64))

    def posterior(self, theta: Theta) -> Sites:
        """The site and its distribution under q."""
        yield "weights", dist.Dirichlet(self.concentration, validate_args=False)

    def supports(self) -> dict[str, tuple[Any, torch.Size]]:
        """The constraint and the shape of the site: a point of the simplex."""
        return {"weights": (constraints.simplex, torch.Size([self._k]))}

    def log_weights(self, theta: Theta) -> Float[Tensor, "*s k"]:
        """The log weights at theta."""
        return theta["weights"].log()

    def start(self, counts: Float[Tensor, " k"]) -> Theta:
        """Start q, if there is one, with these numbers of rows per component; the mean of the posterior."""
        if self.conjugate:
            self.maximize(counts)
        concentration = counts + self.prior_concentration
        return {"weights": concentration / concentration.sum()}

    def counts(self) -> Float[Tensor, " k"]:
        """The expected number of rows of each component under q."""
        return self.concentration.detach() - self.prior_concentration

    def expected_log(self) -> Float[Tensor, " k"]:
        """E_q[log weights]."""
        return torch.digamma(self.concentration) - torch.digamma(self.concentration.sum())

    def mean(self) -> Float[Tensor, " k"]:
        """E_q[weights]."""
        return self.concentration / self.concentration.sum()

    def maximize(self, counts: Float[Tensor, " k"]) -> None:
        """Set q to the posterior given the number of rows of each component."""
        self.concentration = self.prior_concentration + counts.clamp(min=0)

    def mode(self, counts: Float[Tensor, " k"]) -> Theta:
        """The weights that maximize sum_k counts[k] log weights[k] + log prior.

        Raises ArithmeticError if there is no maximum inside the simplex.
        """
        powers = counts + (self.prior_concentration - 1)
        if (powers < 0).any():
            j = int(powers.argmin())
            raise ArithmeticError(
                f"the weight of component {j}, which has {float(counts[j]):.3g} rows, would leave the simplex: under "
                f"Dirichlet({self.prior_concentration:g}) its count becomes {float(powers[j]):.3g}, expected none "
                "below 0: take a concentration of at least 1, fewer components, or a posterior over the weights"
            )
        return {"weights": powers / powers.sum()}

    def divergence(self) -> Float[Tensor, ""]:
        """KL(q || p) in nats."""
        prior = torch.distributions.Dirichlet(torch.full_like(self.concentration, self.prior_concentration))
        return divergence(torch.distributions.Dirichlet(self.concentration, validate_args=False), prior)

    def relabel(self, theta: Theta, order: Tensor) -> Theta:
        """theta with component j the former component order[j]."""
        return {"weights": theta["weights"][order]}

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the components of q in place."""
        if self.conjugate:
            concentration = self.unconstrained("concentration")
            concentration.data = concentration.data[order]
