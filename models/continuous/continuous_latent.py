"""The base class of models whose latent variable is a vector with a standard normal prior."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor
from torch.distributions import Distribution

from ...data.chunked_methods import by_chunks
from ...data.moments import Spread
from ...data.traced_rows import plain_rows
from ..module import device_of, on_the_cpu
from ..param_store import local_params
from ..random_state import fixed_seed, gpus
from .checked_tables import ChecksTables
from .distribution_views import mean_or_mode
from .draws import Draws, gaussian_draws
from .networks import evaluation_mode
from .row_noise import row_noise

EVALUATION_SEED = 0  # of the draws that evaluate a bound where q is not Gaussian: the same at every pass
# A bound is evaluated with so many draws of a row that they hold at most 256 values, and with at most 16
DRAWN_CELLS, MOST_DRAWS = 256, 16


class ContinuousLatent(ChecksTables):
    """Base class: z ~ N(0, I) in `latent` dimensions, x | z ~ decode(z), with the guide z ~ encode(x).

    A model of this kind sets `latent` and `features` in its constructor and writes three methods:

    - `decode(z)`: p(x | z);
    - `encode(x)`: q(z | x), the exact posterior or an approximation;
    - `starting_values(data, generator)`: where a fit starts. A model whose parameters are not `PyroParam`, such as a
      network, overrides `initialize` instead.

    It then has all of `LatentModel`: it is fitted by `SVI()` and `SVI("analytic")`, compared and plotted. Four methods
    have a default to override where it is not right:

    - `free_parameters()`: all numbers in parameters that are not frozen. Override it if some of them change nothing,
      such as rotations of z or an encoder: BIC counts them.
    - `check()`: no singularity. Override it to raise `Collapse`.
    - `objective(x)`: the bound by draws of z. Override it, with `has_exact_bound = True`, if it has a closed form.
    - `evidence(x)`: None. Override it if log p(x) has a closed form.

    Attributes:
        latent: q, the number of latent dimensions.
        features: d, the number of columns.
        schema: Names of columns of the table it was fitted to; None before a fit, or if they have no names.
        has_exact_bound: Whether `bound` is in closed form, without draws of z.

    Example:
        One latent dimension, noise of standard deviation 1, and a fixed encoder:

        >>> import pyro.distributions as dist, torch
        >>> from pyro.nn import PyroParam
        >>> from lowerbound.models import ContinuousLatent
        >>> class Line(ContinuousLatent):
        ...     def __init__(self, features):
        ...         super().__init__()
        ...         self.features, self.latent = features, 1
        ...         self.loading = PyroParam(torch.ones(features, 1).double())
        ...     def decode(self, z):
        ...         return dist.Normal(z @ self.loading.T, 1.0).to_event(1)
        ...     def encode(self, x):
        ...         precision = 1 + self.loading.detach().square().sum()
        ...         return dist.Normal(x @ self.loading.detach() / precision, precision**-0.5).to_event(1)
        ...     def starting_values(self, data, generator):
        ...         return {"loading": torch.randn(self.features, 1, generator=generator).double()}
        >>> Line(3).draws(torch.ones(2, 3), samples=4).log_weights().shape
        torch.Size([4, 2])
    """

    latent: int
    has_exact_bound = False

    # what a model writes

    def decode(self, z: Float[Tensor, "*s q"]) -> Distribution:
        """p(x | z).

        Args:
            z: Latent variables, (..., latent): any leading dimensions.

        Returns:
            A distribution of `pyro.distributions` with the batch shape (...) of z and event shape (features,).
        """
        raise NotImplementedError(f"{type(self).__name__} has no decode(z), expected it to return p(x | z)")

    def encode(self, x: Float[Tensor, "n d"]) -> Distribution:
        """q(z | x), the posterior of z or an approximation.

        Detach it from the parameters if it is the exact posterior: draws of it then give unbiased gradients with less
        noise.

        Args:
            x: Rows, (n, features).

        Returns:
            A distribution of `pyro.distributions` with batch shape (n,), event shape (latent,) and `rsample`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no encode(x), expected it to return q(z | x)")

    def starting_values(self, data: Spread, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Where a fit starts: new values of the parameters, by name.

        Args:
            data: `mean` and `variance` of each column, (d,) in float64.
            generator: The source of random numbers. Restarts differ by it.

        Returns:
            A value for each `PyroParam` of this module.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no starting_values(data, generator), expected it to return a value for each "
            "parameter by name; or override initialize"
        )

    # what a model may override

    def free_parameters(self) -> int:
        """The number of free parameters: all numbers in parameters that are not frozen."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def check(self) -> None:
        """Raise `Collapse` if the parameters have run into a singularity of the likelihood. Here: never."""

    @on_the_cpu
    @torch.no_grad()
    def initialize(self, x: Any, weights: Any, generator: torch.Generator, redraw: bool = True) -> None:
        """Learn the names of the columns, then set the parameters to `starting_values`.

        Args:
            x: The table, as `fit` takes it.
            weights: Row weights (n,), or None.
            generator: The source of random numbers.
            redraw: False keeps parameters that are already set. Frozen parameters are always kept.

        Raises:
            ValueError: The table has labels or another number of columns, or a frozen parameter was never set.
        """
        rows = self._learn_table(x, weights)
        self.require_frozen_set()
        kept = {name for name in self.names_set if not redraw or self.is_frozen(name)}
        for name, value in self.starting_values(rows.spread, generator).items():
            if name not in kept:
                setattr(self, name, value)

    # the Pyro pair

    @local_params
    def model(self, x: Any, weights: Any = None, labels: Any = None, rows: float | None = None) -> Tensor:
        """Pyro model: plate("rows"): z ~ N(0, I); x ~ decode(z).

        Args:
            x: rows (n, d).
            weights: Row weights (n,), or None for weights of 1.
            labels: None: a continuous z has no labels.
            rows: How many rows x stands for, None for n. The terms of a minibatch are scaled by rows / n.

        Returns:
            The draw of z, (n, latent).
        """
        x, scale = self._pair_arguments(x, weights, labels, rows)
        prior = dist.Normal(x.new_zeros(self.latent), x.new_ones(self.latent)).to_event(1)
        with pyro.plate("rows", len(x), dim=-1), poutine.scale(scale=scale):
            z = pyro.sample("z", prior)
            pyro.sample("x", self.decode(z), obs=x)  # type: ignore[arg-type]
        return z

    @local_params
    def guide(self, x: Any, weights: Any = None, labels: Any = None, rows: float | None = None) -> Tensor:
        """Pyro guide, the E-step: z ~ encode(x). Arguments and result as in `model`."""
        x, scale = self._pair_arguments(x, weights, labels, rows)
        with pyro.plate("rows", len(x), dim=-1), poutine.scale(scale=scale):
            return pyro.sample("z", self.encode(x))  # type: ignore[arg-type]

    # what the pair implies

    def draws(self, x: Any, samples: int = 1, q: Distribution | None = None, trusted: bool = False) -> Draws:
        """Draws of z from q for each row, and log p(x | z) of each draw; gradients pass through them.

        Args:
            x: Rows (n, d).
            samples: The number of draws s.
            q: The distribution to draw from, batch (n,), event (latent,); None for encode(x).
            trusted: x is a tensor that was checked before, as in a fit: skip the checks.

        Returns:
            `Draws` with z of shape (s, n, latent).

        Raises:
            ValueError: samples is not a whole number of at least 1.
        """
        if isinstance(samples, bool) or not isinstance(samples, Integral) or samples < 1:
            raise ValueError(f"samples is {samples!r}, expected a whole number of draws of at least 1")
        x = x.to(next(self.parameters(), x)) if trusted else self.checked(x)
        q = self.encode(x) if q is None else q
        z = q.rsample((samples,))
        return Draws(q, z, self.decode(z).log_prob(x))

    def posterior(self, x: Any) -> Distribution:
        """q(z | x), from which the guide draws: batch (n,), event (latent,). No gradient."""
        with torch.no_grad(), evaluation_mode(self):
            return self.encode(self.checked(x))

    @by_chunks
    def bound(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """The lower bound of log p(x) of each row: E_q[log p(x | z)] - KL(q(z | x) || N(0, I)). No gradient.

        Args:
            x: Rows (n, d).
            labels: None: a continuous z has no labels.

        Returns:
            (n,) nats per row, float64.
        """
        with torch.no_grad():
            return self.objective(x, labels)

    def objective(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """The same numbers as `bound`, differentiable in the parameters and, with the noise of the draws held, in x.

        E_q[log p(x | z)] is a mean over draws of z: 16 draws for up to 16 columns, fewer for more columns, 1 for 129
        and more. The KL is in closed form where q is Gaussian. A Gaussian q gets the same draws for the same row each
        time (`row_noise`). `lowerbound.inference.evidence` takes more draws.

        Args:
            x: Rows (n, d).
            labels: None: a continuous z has no labels.

        Returns:
            (n,) nats per row, float64.
        """
        x = self.checked(x, labels)
        with evaluation_mode(self):
            q = self.encode(x)
            samples = max(1, min(MOST_DRAWS, DRAWN_CELLS // self.features))
            z = gaussian_draws(q, row_noise(x, samples * self.latent).unflatten(1, (samples, -1)).transpose(0, 1))
            if z is None:  # q is not Gaussian
                with fixed_seed(EVALUATION_SEED, gpus(self)):
                    z = q.rsample((samples,))
            bound = Draws(q, z, self.decode(z).log_prob(x)).elbo().double()
        self._require_finite(bound, x)
        return bound

    def _require_finite(self, bound: Float[Tensor, " n"], x: Float[Tensor, "n d"]) -> None:
        """Raise ValueError if the bound of a row overflowed because it holds values far from zero."""
        overflowed = ~plain_rows(bound.unsqueeze(-1)).isfinite().squeeze(-1)
        if overflowed.any() and all(bool(parameter.isfinite().all()) for parameter in self.parameters()):
            rows = torch.where(overflowed.unsqueeze(-1), plain_rows(x), 0.0)  # the others keep their numbers
            self._require_in_range(rows, None, x.dtype, torch.finfo(x.dtype).max ** 0.25)

    def evidence(self, x: Any) -> Float[Tensor, " n"] | None:
        """log p(x) of each row (n,) in nats where it has a closed form, else None. No gradient."""
        return None

    def global_term(self) -> Float[Tensor, ""]:
        """The log prior of the parameters: 0, they have none."""
        return torch.zeros((), dtype=torch.float64, device=device_of(self))

    def transform(self, x: Any) -> Float[Tensor, "n q"]:
        """The posterior means E_q[z | x], (n, latent): coordinates of the rows in latent space."""
        return self.posterior(x).mean

    def reconstruct(self, x: Any) -> Float[Tensor, "n d"]:
        """The mean of p(x | z) at the posterior mean of z, (n, d); for categories, the most probable one."""
        with torch.no_grad(), evaluation_mode(self):
            return mean_or_mode(self.decode(self.encode(self.checked(x)).mean))

    def sample(self, n: int, seed: int | None = None) -> Float[Tensor, "n d"]:
        """Rows drawn from the model: z from its prior, then x given z.

        Args:
            n: The number of rows.
            seed: The same seed gives the same rows; None draws from torch's random state.

        Returns:
            (n, d), in the precision of the parameters.

        Raises:
            ValueError: n is not a whole number of at least 1.
        """
        if not isinstance(n, Integral) or n < 1:
            raise ValueError(f"n is {n!r}, expected a whole number of rows of at least 1")
        own = next(self.parameters(), torch.zeros(()))
        with torch.no_grad(), evaluation_mode(self), fixed_seed(seed, gpus(self)):
            z = torch.randn(int(n), self.latent, dtype=own.dtype, device=own.device)
            return self.decode(z).sample().to(own.dtype)
