"""A distribution q over the parameters of a mixture that is the draws of a sampler."""

from __future__ import annotations

from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..families.family import Family
from .dirichlet_weights import DirichletWeights
from .monte_carlo_posterior import MonteCarloPosterior
from .parameter_sites import Theta, View, value_inside
from .prior_and_posterior import PriorAndPosterior
from .stick_breaking_weights import StickBreakingWeights

EVALUATED_DRAWS = 256  # of a sample of draws, evenly spaced


class SampledPosterior(MonteCarloPosterior):
    """q(theta) is a sample of draws, all with the same labels: `weights` (chains * draws, k), and the sites of theta,
    (chains * draws, ...); sticks, if there are some, are those of places."""

    term: Tensor
    is_sampled = True
    has_exact_bound = False

    def __init__(
        self, shares: DirichletWeights | StickBreakingWeights, beliefs: PriorAndPosterior, size: PosteriorDraws
    ):
        super().__init__(shares, beliefs)
        self.size = size
        supports = shares.supports() | beliefs.supports()
        shapes = {"weights": torch.Size([beliefs.components])} | {name: shape for name, (_, shape) in supports.items()}
        self.names = tuple(shapes)
        for name, shape in shapes.items():
            self.register_buffer(f"drawn_{name}", torch.full((size.chains * size.draws, *shape), torch.nan).double())
        self.register_buffer("term", torch.tensor(torch.nan, dtype=torch.float64))

    @property
    def is_set(self) -> bool:
        """Whether it holds draws."""
        return not bool(self.term.isnan())

    def start_at(self, theta: Theta) -> None:
        """Raises ValueError: draws are not fitted."""
        raise ValueError("this model holds the draws of a sampler, expected one to be fitted: BayesianMixture(family)")

    def set_draws(self, theta: Theta, term: Tensor) -> None:
        """Take these draws, and the `global_term` that comes with them."""
        for name in self.names:
            setattr(self, f"drawn_{name}", theta[name].double())
        self.term = term

    @property
    def theta(self) -> Theta:
        """All draws."""
        return {name: getattr(self, f"drawn_{name}") for name in self.names}

    def views(self) -> list[View]:
        """One mixture for each of some draws, evenly spaced."""
        count = self.size.chains * self.size.draws
        index = torch.linspace(0, count - 1, min(count, EVALUATED_DRAWS)).round().long().tolist()
        theta = self.theta
        return [self._view({name: value[i] for name, value in theta.items()}) for i in index]

    def global_term(self) -> Float[Tensor, ""]:
        """What the bound of the sampler has beyond the mean log-likelihood of its draws: about -KL(q || p)."""
        return self.term

    def guide_sites(self) -> View:
        """One of the draws, with the labels that its sticks have, if there are some."""
        index = torch.randint(len(self.drawn_weights), ())  # type: ignore[arg-type]
        one = {name: value[index] for name, value in self.theta.items()}
        if not self.shares.exchangeable:
            order = self.shares.stick_positions(one).argsort()[self.shares.place]  # type: ignore[union-attr]
            own = {name: one[name] for name in self.beliefs.supports()}
            one |= self.beliefs.relabel(own, order) | {"weights": one["weights"][order]}
        for name in self.shares.supports() | self.beliefs.supports():
            pyro.sample(name, dist.Delta(one[name], event_dim=one[name].ndim))
        return self._view(one)

    def at(self, theta: Theta) -> View:
        """The mixture at these values of the sites."""
        return self._view({**theta, "weights": self.shares.log_weights(theta).exp()})

    @torch.no_grad()
    def draw(self, draws: int) -> tuple[Theta, Float[Tensor, " s"]]:
        """Some of the draws, at random; their density is not known."""
        index = torch.randint(len(self.drawn_weights), (draws,))  # type: ignore[arg-type]
        return {name: value[index] for name, value in self.theta.items()}, torch.full((draws,), torch.nan).double()

    def mean(self) -> tuple[Float[Tensor, " k"], Family]:
        """The means of the draws."""
        if not self.is_set:
            own = {name: value_inside(form, shape) for name, (form, shape) in self.beliefs.supports().items()}
            return torch.full_like(self.drawn_weights[0], torch.nan), self.beliefs.family_at(own)  # type: ignore[index]
        family, log_weights = self._view({name: value.mean(0) for name, value in self.theta.items()})
        return log_weights.exp(), family

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the components in all draws."""
        self.drawn_weights = self.drawn_weights[:, order]  # type: ignore[index]
        for name in self.beliefs.supports():
            if name not in self.beliefs.shared:
                setattr(self, f"drawn_{name}", getattr(self, f"drawn_{name}")[:, order])

    # inside

    def _view(self, theta: Theta) -> View:
        return self.beliefs.family_at({name: theta[name] for name in self.beliefs.supports()}), theta["weights"].log()


@dataclass(frozen=True)
class PosteriorDraws:
    """As the guide of a `BayesianMixture`: draws of its parameters, such as those of `NUTS`, which fill it.

    chains, draws: how many chains, and draws of each.
    """

    chains: int
    draws: int
