"""Draws of the parameters from the posterior of a mixture, and densities at each draw."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..families.family import Family
from ..families.missing_values import log_prob_of_rows
from ..mixtures.mixture import Mixture
from ..random_state import fixed_seed
from .mixture_with_posterior import MixtureWithPosterior
from .parameter_sites import Theta, sites_log_prob


class ParameterDraws(MixtureWithPosterior):
    """The part of `BayesianMixture` that draws parameters from q and evaluates densities at draws."""

    # draws

    def draw(self, draws: int, seed: int | None = None) -> Theta:
        """Draws of the parameters from q, for posterior means, intervals and plots.

        Args:
            draws: How many, at least 1.
            seed: The same draws for the same seed; None for torch's own random state.

        Returns:
            The parameters by name, with the draw on dim 0: {"weights": (draws, k), "loc": (draws, k, d), ...}. With
            `stick_breaking` also "sticks", (draws, k - 1).

        Raises:
            ValueError: draws is no whole number of at least 1, or there is no posterior yet.

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 1)), [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]])
            >>> {name: tuple(value.shape) for name, value in model.draw(100, seed=0).items()}
            {'weights': (100, 2), 'rate': (100, 2, 1)}
        """
        return self.draw_with_density(draws, seed)[0]

    def draw_with_density(self, draws: int, seed: int | None = None) -> tuple[Theta, Float[Tensor, " s"]]:
        """The same draws, and log q of each.

        Args:
            draws: How many, at least 1.
            seed: The same draws for the same seed; None for torch's own random state.

        Returns:
            The parameters as in `draw`, and their log densities (draws,) in nats, over the weights (or sticks) and
            theta; NaN for the draws of a sampler.

        Raises:
            ValueError: As in `draw`.

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 1)), [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]])
            >>> theta, log_q = model.draw_with_density(100, seed=0)
            >>> tuple(log_q.shape)
            (100,)
        """
        self._require_parameters()
        if not isinstance(draws, Integral) or draws < 1:
            raise ValueError(f"draws is {draws!r}, expected a whole number of at least 1")
        with fixed_seed(seed):
            return self.q.draw(int(draws))

    @torch.no_grad()
    def draw_labels(self, x: Any, draws: int = 1, seed: int | None = None) -> Int[Tensor, "s n"]:
        """Draws of the component of each row: z ~ p(z | x, weights, theta), at a new draw of the parameters each time.

        Args:
            x: Rows (n, d).
            draws: How many, at least 1.
            seed: The same draws for the same seed; None for torch's own random state.

        Returns:
            Components 0 .. k - 1, (draws, n).

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 1)), [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]])
            >>> model.draw_labels([[0.0], [9.0]], draws=3, seed=0).tolist()
            [[0, 1], [0, 1], [0, 1]]
        """
        x = self._checked_table(x)
        with fixed_seed(seed):
            views = self.views(self.draw(draws))
            return torch.stack([dist.Categorical(logits=log_prob_of_rows(f, x) + w).sample() for f, w in views])

    # densities and mixtures at draws

    @torch.no_grad()
    def log_likelihood(self, theta: Theta, x: Any) -> Float[Tensor, "s n"]:
        """log p(x | weights, theta) of each draw and row in nats, with z summed out.

        Args:
            theta: Draws of the parameters, as `draw` returns them.
            x: Rows (n, d).

        Returns:
            (draws, n).

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> x = [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]]
            >>> model = seed(BayesianMixture(Poisson(2, 1)), x)
            >>> tuple(model.log_likelihood(model.draw(100, seed=0), x).shape)
            (100, 6)
        """
        x = self._checked_table(x)
        return torch.stack([torch.logsumexp(log_prob_of_rows(f, x) + weights, -1) for f, weights in self.views(theta)])

    @torch.no_grad()
    def log_prior(self, theta: Theta) -> Float[Tensor, " s"]:
        """log p(weights, theta) of each draw in nats; with `stick_breaking`, the density over sticks.

        Args:
            theta: Draws of the parameters, as `draw` returns them.

        Returns:
            (draws,).

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 1)), [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]])
            >>> tuple(model.log_prior(model.draw(100, seed=0)).shape)
            (100,)
        """
        return sites_log_prob(self.shares.prior(theta), theta) + sites_log_prob(self.beliefs.prior(theta), theta)

    def views(self, theta: Theta) -> list[tuple[Family, Float[Tensor, " k"]]]:
        """The family and the log weights (k,) at each draw, to read, not to train.

        Args:
            theta: Draws of the parameters, as `draw` returns them.

        Returns:
            A pair for each draw.

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 1)), [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]])
            >>> family, log_weights = model.views(model.draw(100, seed=0))[0]
            >>> tuple(family.rate.shape), tuple(log_weights.shape)
            ((2, 1), (2,))
        """
        self._require_parameters()
        names = self.beliefs.supports()
        return [
            (self.beliefs.family_at({name: theta[name][i] for name in names}), weights.log())
            for i, weights in enumerate(theta["weights"])
        ]

    def mixture(self, theta: Theta) -> Mixture:
        """The plain `Mixture` with the parameters of one draw.

        Args:
            theta: One draw, without the dimension of draws: {"weights": (k,), ...}.

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 1)), [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]])
            >>> mixture = model.mixture({name: value[0] for name, value in model.draw(1, seed=0).items()})
            >>> type(mixture).__name__
            'Mixture'
        """
        own = {name: theta[name] for name in self.beliefs.supports()}
        return self._plain_mixture(theta["weights"], self.beliefs.family_at(own))
