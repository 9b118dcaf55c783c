"""New rows under the posterior of a mixture: their density, samples of them, and their missing values."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...data.chunked_methods import by_chunks
from ..mixtures.imputed import Imputed
from ..random_state import fixed_seed
from .parameter_draws import ParameterDraws


class PosteriorPredictive(ParameterDraws):
    """The part of `BayesianMixture` that predicts rows, with the uncertainty of the parameters in it."""

    @by_chunks
    def evidence(self, x: Any) -> Float[Tensor, " n"]:
        """log E_q[p(x | weights, theta)] of each row in nats: the posterior predictive density.

        In closed form for the conjugate q, else a mean over draws.

        Args:
            x: Rows (n, d).

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 1)), [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]])
            >>> model.evidence([[0.0], [5.0]]).round(decimals=1).tolist()
            [-2.1, -2.9]
        """
        with torch.no_grad():
            self._require_parameters()
            return self.q.log_predictive(self._checked_table(x))

    def sample(self, n: int, seed: int | None = None, labels: bool = False) -> Any:
        """Rows from the posterior predictive distribution.

        Args:
            n: How many rows, at least 1.
            seed: The same rows for the same seed; None for torch's own random state.
            labels: Whether to return the components, too.

        Returns:
            Rows (n, d); with labels=True a pair of these and their components (n,).

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 1)), [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]])
            >>> tuple(model.sample(5, seed=0).shape)
            (5, 1)
        """
        if not isinstance(n, Integral) or n < 1:
            raise ValueError(f"n is {n!r}, expected a whole number of rows of at least 1")
        self._require_parameters()
        with torch.no_grad(), fixed_seed(seed):
            x, z = self.q.sample(int(n))
        return (x.to(torch.float64), z) if labels else x.to(torch.float64)

    def impute(self, x: Any) -> Imputed:
        """As `Mixture.impute`, with q(z | x) and the family at the mean of q.

        Its standard deviations do not include the uncertainty of the parameters. The tables of `draw_missing` do.
        """
        return super().impute(x)

    @torch.no_grad()
    def draw_missing(self, x: Any, draws: int = 1, seed: int | None = None) -> Float[Tensor, "m n d"]:
        """The table several times, with its missing values drawn: proper multiple imputations (Rubin 1987).

        Each table has parameters drawn from q, and missing values drawn given these and the observed values of the row.

        Args:
            x: Rows (n, d), with NaN where a value is missing.
            draws: The number of tables, at least 1.
            seed: The same draws for the same seed; None for torch's own random state.

        Returns:
            The tables (draws, n, d).

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 2)), [[0.0, 1], [1, 0], [9, 8], [8, 9]])
            >>> tuple(model.draw_missing([[0.0, float("nan")]], draws=5, seed=0).shape)
            (5, 1, 2)
        """
        x = self._checked_table(x)
        with fixed_seed(seed):
            theta = self.draw(draws)
            each = [self.mixture({name: value[i] for name, value in theta.items()}) for i in range(int(draws))]
            return torch.cat([mixture.draw_missing(x) for mixture in each])
