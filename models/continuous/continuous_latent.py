"""Models whose latent variable is a vector with a standard normal prior: the pair, and what one draw of it gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from ...data.chunked_methods import by_chunks
from ...data.input_checks import as_tensor, as_weights
from ...data.open_table import conform
from ...data.rows import Rows
from ...data.schema import Schema
from ..module import Recorded, device_of, local_params
from ..random_state import fixed_seed, gpus
from .row_noise import row_noise

EVALUATION_SEED = 0  # of the draws with which a bound is evaluated where q is not Gaussian: the same at every pass
DRAWN_CELLS, MOST_DRAWS = 256, 16  # how many numbers are drawn of each row for its bound: cells, and draws at most


@dataclass(frozen=True)
class Draws:
    """s draws of z from q(z | x) for each of n rows, by the reparameterization of q: gradients pass through them.

    q: batch (n,), event (latent,). z: (s, n, latent). log_likelihood: log p(x | z), (s, n), in nats.
    """

    q: Distribution
    z: Float[Tensor, "s n q"]
    log_likelihood: Float[Tensor, "s n"]

    def log_weights(self) -> Float[Tensor, "s n"]:
        """log p(x, z) - log q(z | x), whose mean is the ELBO and whose exponentials have the mean p(x)."""
        prior = Normal(self.z.new_zeros(()), self.z.new_ones(()), validate_args=False)
        return self.log_likelihood + prior.log_prob(self.z).sum(-1) - self.q.log_prob(self.z)

    def divergence(self) -> Float[Tensor, "n _"] | None:
        """KL(q(z | x) || N(0, I)) in closed form: of each dimension (n, latent) where they are independent under q, as
        a whole (n, 1) under a full covariance, None where q is not Gaussian."""
        return divergence(self.q)

    def elbo(self) -> Float[Tensor, " n"]:
        """E_q[log p(x | z)] - KL(q || p(z)): the first by the draws, the second in closed form where it has one."""
        closed = self.divergence()
        if closed is None:
            return self.log_weights().mean(0)
        return self.log_likelihood.mean(0) - closed.sum(-1)


def divergence(q: Distribution) -> Float[Tensor, "n _"] | None:
    """KL(q || N(0, I)) = (|m|^2 + tr S - log |S| - d) / 2, see `Draws.divergence`."""
    if isinstance(q, Independent) and isinstance(q.base_dist, Normal) and q.reinterpreted_batch_ndims == 1:
        loc, scale = q.base_dist.loc, q.base_dist.scale
        return 0.5 * (loc.square() + scale.square() - 1) - scale.log()
    if isinstance(q, MultivariateNormal):
        tril = q.scale_tril
        trace, log_root = tril.square().sum((-2, -1)), tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (0.5 * (q.loc.square().sum(-1) + trace - tril.shape[-1]) - log_root).unsqueeze(-1)
    return None


def placed(q: Distribution, noise: Float[Tensor, "s n q"]) -> Float[Tensor, "s n q"] | None:
    """Draws of a Gaussian q from standard normal ones, mean + S^(1/2) noise; None where q is not Gaussian."""
    if isinstance(q, Independent) and isinstance(q.base_dist, Normal) and q.reinterpreted_batch_ndims == 1:
        return q.base_dist.loc + q.base_dist.scale * noise
    if isinstance(q, MultivariateNormal):
        return q.loc + (q.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
    return None


class ContinuousLatent(Recorded):
    """z ~ N(0, I) in `latent` dimensions, x | z ~ decode(z): a Pyro model/guide pair whose guide is encode(x).

    `encode` and `decode` are what a model of this kind writes.
    """

    latent: int
    features: int  # d, the number of columns
    schema: Schema | None = None  # of the table it was fitted to
    has_exact_bound = False  # whether `bound` is in closed form, without draws

    def decode(self, z: Float[Tensor, "*s q"]) -> Distribution:
        """p(x | z), with the batch shape of z and events (d,)."""
        raise NotImplementedError

    def encode(self, x: Float[Tensor, "n d"]) -> Distribution:
        """q(z | x), with batch shape (n,) and events (latent,)."""
        raise NotImplementedError

    # the Pyro pair

    @local_params
    def model(self, x: Any, weights: Any = None, labels: Any = None, rows: float | None = None) -> Tensor:
        """Pyro model: plate("rows"): z ~ N(0, I); x ~ decode(z). Returns the drawn z.

        x: (n, d); weights: (n,) row weights; rows: how many rows x stands for (n), so that a minibatch's terms are
        scaled by rows / n. There are no labels to a continuous z.
        """
        x, scale = self._intake(x, weights, labels, rows)
        prior = dist.Normal(x.new_zeros(self.latent), x.new_ones(self.latent)).to_event(1)
        with pyro.plate("rows", len(x)), poutine.scale(scale=scale):
            z = pyro.sample("z", prior)
            pyro.sample("x", self.decode(z), obs=x)  # type: ignore[arg-type]
        return z

    @local_params
    def guide(self, x: Any, weights: Any = None, labels: Any = None, rows: float | None = None) -> Tensor:
        """Pyro guide, the E-step: z ~ encode(x). Arguments as in `model`."""
        x, scale = self._intake(x, weights, labels, rows)
        with pyro.plate("rows", len(x)), poutine.scale(scale=scale):
            return pyro.sample("z", self.encode(x))  # type: ignore[arg-type]

    # what the pair implies

    def draws(self, x: Any, samples: int = 1, q: Distribution | None = None, trusted: bool = False) -> Draws:
        """`samples` draws of z for each row from q, by default encode(x), and what each says of x; differentiable.

        trusted: x is a tensor whose cells were looked through before, as those of a fit are.
        """
        if isinstance(samples, bool) or not isinstance(samples, Integral) or samples < 1:
            raise ValueError(f"samples is {samples!r}, expected a whole number of draws of at least 1")
        x = x.to(next(self.parameters(), x)) if trusted else self._table(x)
        q = self.encode(x) if q is None else q
        z = q.rsample((samples,))
        return Draws(q, z, self.decode(z).log_prob(x))

    def posterior(self, x: Any) -> Distribution:
        """q(z | x), what the guide draws from: batch (n,), events (latent,)."""
        with torch.no_grad(), evaluating(self):
            return self.encode(self._table(x))

    @by_chunks
    def bound(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """The lower bound of log p(x) of each row in nats. No gradient."""
        with torch.no_grad():
            return self.objective(x, labels)

    def objective(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """The same numbers as `bound`, differentiable in the parameters: E_q[log p(x | z)] by a few draws of z (16 of
        rows of up to 16 columns, one of 129 and more), for a Gaussian q always the same ones for the same row
        (`row_noise`), minus KL(q || p(z)) in closed form. `lowerbound.inference.evidence` takes as many as you like."""
        self._unlabelled(labels)
        x = self._table(x)
        with evaluating(self):
            q = self.encode(x)
            samples = max(1, min(MOST_DRAWS, DRAWN_CELLS // self.features))
            z = placed(q, row_noise(x, samples * self.latent).unflatten(1, (samples, -1)).transpose(0, 1))
            if z is None:  # q is not Gaussian
                with fixed_seed(EVALUATION_SEED, gpus(self)):
                    z = q.rsample((samples,))
            return Draws(q, z, self.decode(z).log_prob(x)).elbo().double()

    def evidence(self, x: Any) -> Float[Tensor, " n"] | None:
        """log p(x) of each row where it has a closed form, else None."""
        return None

    def global_term(self) -> Float[Tensor, ""]:
        """0: the parameters have no prior."""
        return torch.zeros((), dtype=torch.float64, device=device_of(self))

    def transform(self, x: Any) -> Float[Tensor, "n q"]:
        """The posterior means E_q[z | x]: where the rows lie among the latent variables."""
        return self.posterior(x).mean

    def reconstruct(self, x: Any) -> Float[Tensor, "n d"]:
        """The mean of p(x | z) (of categories, the likeliest) at the posterior mean of z."""
        with torch.no_grad(), evaluating(self):
            return centre(self.decode(self.encode(self._table(x)).mean))

    def sample(self, n: int, seed: int | None = None) -> Float[Tensor, "n d"]:
        """n rows (n, d) drawn from the model: z from its prior, x given z. The same rows for the same seed; without
        one, from torch's own random state."""
        if not isinstance(n, Integral) or n < 1:
            raise ValueError(f"n is {n!r}, expected a whole number of rows of at least 1")
        own = next(self.parameters(), torch.zeros(()))
        with torch.no_grad(), evaluating(self), fixed_seed(seed, gpus(self)):
            z = torch.randn(int(n), self.latent, dtype=own.dtype, device=own.device)
            return self.decode(z).sample().to(own.dtype)

    # inside

    def _table(self, x: Any) -> Float[Tensor, "n d"]:
        """x as a tensor of finite numbers that the model can give, in the precision and on the device of the model."""
        x = conform(x, self)
        own = next(self.parameters(), torch.zeros(()))
        tensor = as_tensor(x, self.features).to(own.device, own.dtype)
        self._allow(tensor, list(x.columns) if isinstance(x, pd.DataFrame) else None)
        return tensor

    def _allow(
        self, x: Float[Tensor, "n d"], columns: Sequence[Any] | None, numbers: Tensor | range | None = None
    ) -> None:
        """Raise ValueError if x holds what the model cannot give; numbers: of the rows."""

    def _require_columns(self, rows: Rows) -> None:
        if rows.features != self.features:
            raise ValueError(
                f"got {rows.features} columns, expected {self.features}: the model was made for {self.features} "
                "features"
            )

    def _unlabelled(self, labels: Any) -> None:
        if labels is not None:
            raise ValueError(
                f"got labels, but the latent variable of a {type(self).__name__} is continuous and has none: leave "
                "them out, or fit a Mixture"
            )

    def _intake(self, x: Any, weights: Any, labels: Any, rows: float | None) -> tuple[Tensor, Any]:
        """Checked rows, and the scale of each one's terms. Rows of weight zero are left out."""
        self._unlabelled(labels)
        x = self._table(x)
        weights = as_weights(weights, len(x))
        factor = 1.0 if rows is None else rows / len(x)
        if weights is None:
            return x, factor
        kept = weights > 0
        return x[kept.to(x.device)], (weights[kept] * factor).to(x)


def centre(distribution: Distribution) -> Tensor:
    """The mean, or, of categories, which have none, the likeliest."""
    mean = distribution.mean
    return distribution.mode.to(mean.dtype) if torch.isnan(mean).any() else mean


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Run the body in evaluation mode (no dropout, batch statistics held), and go back to the mode there was."""
    training = [part for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True
