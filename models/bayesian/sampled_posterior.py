"""q(weights, theta) as the draws of a sampler such as NUTS."""

from __future__ import annotations

from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..families.family import Family
from .monte_carlo_posterior import MonteCarloPosterior
from .parameter_sites import Theta, View, Views, value_inside
from .prior_and_posterior import PriorAndPosterior
from .stick_breaking_weights import MixtureWeights

EVALUATED_DRAWS = 256  # expectations are means over at most so many draws, evenly spaced


@dataclass(frozen=True)
class PosteriorDraws:
    """The size of a sample of a sampler's draws: as `guide` of a `BayesianMixture` it says that q is such a sample.

    `NUTS` makes it and fills the model with draws; a saved model is made again by it.

    Args:
        chains: The number of chains.
        draws: The number of draws of each chain, after warmup.

    Example:
        >>> from lowerbound.models import BayesianMixture, Poisson, PosteriorDraws
        >>> model = BayesianMixture(Poisson(2, 1), guide=PosteriorDraws(chains=4, draws=250))
        >>> model.is_sampled, model.is_set  # no draws yet: fit BayesianMixture(Poisson(2, 1)) by NUTS() to get some
        (True, False)
    """

    chains: int
    draws: int


class SampledPosterior(MonteCarloPosterior):
    """q is a sample of draws, all with the same labels: `weights` (chains * draws, k), sites (chains * draws, ...).

    Sticks, if there are any, keep the stick-breaking order, not the labels.
    """

    term: Tensor
    is_sampled = True
    has_exact_bound = False

    def __init__(self, shares: MixtureWeights, beliefs: PriorAndPosterior, size: PosteriorDraws):
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
        """Whether there are draws."""
        return not bool(self.term.isnan())

    def start_at(self, theta: Theta) -> None:
        """Raise ValueError: a sample of draws cannot be fitted."""
        raise ValueError("this model holds the draws of a sampler, which cannot be fitted: make a new BayesianMixture")

    def set_draws(self, theta: Theta, term: Tensor) -> None:
        """Take these draws, and the `global_term` that belongs to them."""
        for name in self.names:
            setattr(self, f"drawn_{name}", theta[name].double())
        self.term = term

    @property
    def theta(self) -> Theta:
        """All draws."""
        return {name: self.get_buffer(f"drawn_{name}") for name in self.names}

    def views(self) -> list[View]:
        """The mixture at up to 256 draws, evenly spaced."""
        count = self.size.chains * self.size.draws
        index = torch.linspace(0, count - 1, min(count, EVALUATED_DRAWS)).round().long().tolist()
        theta = self.theta
        return [self._view({name: value[i] for name, value in theta.items()}) for i in index]

    def global_term(self) -> Float[Tensor, ""]:
        """The difference between the sampler's bound and the mean log-likelihood of its draws: about -KL(q || p)."""
        return self.term

    def guide_sites(self) -> Views:
        """Draw one of the draws as sites of a Pyro guide; with sticks, by the labels of the sticks."""
        index = torch.randint(len(self.theta["weights"]), ())
        one = {name: value[index] for name, value in self.theta.items()}
        if not self.shares.exchangeable:
            order = self.shares.stick_positions(one).argsort()[self.shares.place]  # type: ignore[union-attr]
            own = {name: one[name] for name in self.beliefs.supports()}
            one |= self.beliefs.relabel(own, order) | {"weights": one["weights"][order]}
        for name in self.shares.supports() | self.beliefs.supports():
            pyro.sample(name, dist.Delta(one[name], event_dim=one[name].ndim))
        return [self._view(one)], torch.Size()

    def at(self, theta: Theta) -> View:
        """The mixture with these parameters."""
        return self._view({**theta, "weights": self.shares.log_weights(theta).exp()})

    @torch.no_grad()
    def draw(self, draws: int) -> tuple[Theta, Float[Tensor, " s"]]:
        """A random sample of the draws; their log densities are unknown (NaN)."""
        index = torch.randint(len(self.theta["weights"]), (draws,))
        return {name: value[index] for name, value in self.theta.items()}, torch.full((draws,), torch.nan).double()

    def mean(self) -> tuple[Float[Tensor, " k"], Family]:
        """The mean weights, and the family at the mean of the draws; NaN weights before there are draws."""
        if not self.is_set:
            own = {name: value_inside(form, shape) for name, (form, shape) in self.beliefs.supports().items()}
            return torch.full_like(self.theta["weights"][0], torch.nan), self.beliefs.family_at(own)
        family, log_weights = self._view({name: value.mean(0) for name, value in self.theta.items()})
        return log_weights.exp(), family

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the components in all draws."""
        for name in ("weights", *self.beliefs.supports()):
            if name not in self.beliefs.shared:
                setattr(self, f"drawn_{name}", self.theta[name][:, order])

    # inside

    def _view(self, theta: Theta) -> View:
        return self.beliefs.family_at({name: theta[name] for name in self.beliefs.supports()}), theta["weights"].log()
