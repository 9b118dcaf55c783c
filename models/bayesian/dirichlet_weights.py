"""What is believed about the weights of a mixture: a Dirichlet, or sticks broken one after the other."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints, kl_divergence

from ..module import Recorded
from .parameter_sites import Sites, Theta


class DirichletWeights(Recorded):
    """weights ~ Dirichlet(prior_concentration, ..., prior_concentration): below 1, superfluous components empty out.

    Hyperparameter of q, if there is one: `concentration` (k,) = the prior's + the rows of each component. Site:
    `weights` (k,).
    """

    concentration: Tensor
    exchangeable = True  # whether any relabelling is as good

    def __init__(self, components: int, concentration: float, conjugate: bool = True):
        super().__init__()
        self._k, self.prior_concentration, self.conjugate = components, float(concentration), conjugate
        if conjugate:
            start = torch.ones(components, dtype=torch.float64)
            self.concentration = PyroParam(start, constraints.positive)  # type: ignore[assignment]

    def prior(self, theta: Theta) -> Sites:
        """The site and its prior."""
        yield "weights", dist.Dirichlet(torch.full((self._k,), self.prior_concentration, dtype=torch.float64))

    def posterior(self, theta: Theta) -> Sites:
        """The site and its posterior."""
        yield "weights", dist.Dirichlet(self.concentration, validate_args=False)

    def supports(self) -> dict[str, tuple[Any, torch.Size]]:
        """The simplex."""
        return {"weights": (constraints.simplex, torch.Size([self._k]))}

    def log_weights(self, theta: Theta) -> Float[Tensor, "*s k"]:
        """log weights at theta."""
        return theta["weights"].log()

    def start(self, counts: Float[Tensor, " k"]) -> Theta:
        """The posterior mean given these counts."""
        if self.conjugate:
            self.maximize(counts)
        whole = counts + self.prior_concentration
        return {"weights": whole / whole.sum()}

    def counts(self) -> Float[Tensor, " k"]:
        """The rows of each component."""
        return self.concentration.detach() - self.prior_concentration

    def expected_log(self) -> Float[Tensor, " k"]:
        """E_q[log weights]."""
        return torch.digamma(self.concentration) - torch.digamma(self.concentration.sum())

    def mean(self) -> Float[Tensor, " k"]:
        """E_q[weights]."""
        return self.concentration / self.concentration.sum()

    def maximize(self, counts: Float[Tensor, " k"]) -> None:
        """The posterior given rows of each component."""
        self.concentration = self.prior_concentration + counts.clamp(min=0)

    def mode(self, counts: Float[Tensor, " k"]) -> Theta:
        """The maximum of sum counts log weights + log prior. Raises ArithmeticError if it is not inside the simplex."""
        whole = counts + (self.prior_concentration - 1)
        if (whole < 0).any():
            j = int(whole.argmin())
            raise ArithmeticError(
                f"the weight of component {j}, which has {float(counts[j]):.3g} rows, would leave the simplex: under "
                f"Dirichlet({self.prior_concentration:g}) its count becomes {float(whole[j]):.3g}, expected none "
                "below 0: take a concentration of at least 1, fewer components, or a posterior over the weights"
            )
        return {"weights": whole / whole.sum()}

    def divergence(self) -> Float[Tensor, ""]:
        """KL(q || p) in nats."""
        prior = torch.distributions.Dirichlet(torch.full_like(self.concentration, self.prior_concentration))
        return kl_divergence(torch.distributions.Dirichlet(self.concentration, validate_args=False), prior)

    def relabel(self, theta: Theta, order: Tensor) -> Theta:
        """theta with component j the former component order[j]."""
        return {"weights": theta["weights"][order]}

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel in place."""
        if self.conjugate:
            self.concentration_unconstrained.data = self.concentration_unconstrained.data[order]  # type: ignore
