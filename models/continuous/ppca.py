"""Probabilistic PCA: by EM, by SVI, and in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints

from ...data.input_checks import as_tensor, as_weights
from ...data.open_table import conform
from ...data.rows import Rows, as_rows
from ..contract import Collapse, Statistics
from ..module import on_the_cpu, require_size
from ..parameter_units import Located
from .continuous_latent import ContinuousLatent
from .linear_gaussian import LinearGaussian
from .ppca_em import expected_statistics, regress

COLLAPSED = 1e-13  # noise variance relative to that of the data: a thousand times what rounding leaves of 0


class PPCA(ContinuousLatent):
    """Probabilistic PCA: z ~ N(0, I), x | z ~ N(loc + loading z, scale^2 I).

    The guide is the exact posterior, so that the bound of a row is log p(x) = log N(x; loc, loading loading' + scale^2
    I). The loading is known up to a rotation of z; `rotate()` turns it to the principal axes. `closed_form` has the
    optimum at once. EM and SVI reach the same optimum, EM slowly if the units of the columns differ widely.

    Args:
        features: d, the number of columns.
        latent: q, the number of latent dimensions, less than d.

    Attributes:
        loc: (d,), the mean, in units of the data.
        loading: (d, q), in units of the data.
        scale: (), the standard deviation of the noise, in units of the data.

    Raises:
        ValueError: A size is not a whole number of at least 1, or latent is not less than features.

    Example:
        >>> from lowerbound.datasets import load
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import PPCA
        >>> result = fit(PPCA(4, 1), load("iris"), EM(), max_passes=30)
        >>> round(float(result.bounds[-1]), 2)
        -3.14

    Tipping & Bishop, Journal of the Royal Statistical Society B 61 (1999), 611-622.
    """

    origin: Tensor
    unit: Tensor
    zero: Tensor
    loc: Tensor
    loc_unconstrained: Tensor
    loading: Tensor
    scale: Tensor
    has_exact_bound = True
    old_names: ClassVar[Mapping[str, str]] = {"carry": "remeasure"}
    generalized = False

    def __init__(self, features: int, latent: int):
        super().__init__()
        require_size(features=features, latent=latent)
        if latent >= features:
            raise ValueError(
                f"latent is {latent!r} for {features} features, expected at most {features - 1}: at least one "
                "direction must be noise"
            )
        self.features, self.latent = features, latent
        # statistics are taken about `origin`; parameters are stored relative to it in `unit`, one for all columns
        self.register_buffer("origin", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("unit", torch.ones(1, dtype=torch.float64))
        self.register_buffer("zero", torch.zeros(1, dtype=torch.float64))
        self.loc = PyroParam(torch.zeros(features, dtype=torch.float64), Located(self))  # type: ignore[assignment]
        loading = torch.eye(features, latent, dtype=torch.float64)
        self.loading = PyroParam(loading, Located(self, "zero"))  # type: ignore[assignment]
        self.scale = PyroParam(torch.ones((), dtype=torch.float64), constraints.positive)  # type: ignore[assignment]

    @classmethod
    def closed_form(cls, x: Any, latent: int, weights: Any = None) -> PPCA:
        """The model at its maximum likelihood parameters, from eigenvalues l and eigenvectors U of the covariance of x.

        scale^2 is the mean of the d - q smallest eigenvalues; loading = U diag(sqrt(l - scale^2)) of the q largest.

        Args:
            x: The table, as `fit` takes it.
            latent: q, the number of latent dimensions.
            weights: Row weights (n,), or None.

        Returns:
            A `PPCA` whose loading is turned to the principal axes.

        Raises:
            ValueError: The table has fewer than latent + 1 columns.
            Collapse: No variance remains for the noise.

        Example:
            >>> from lowerbound.datasets import load
            >>> from lowerbound.models import PPCA
            >>> model = PPCA.closed_form(load("iris"), latent=1)
            >>> round(float(model.bound(load("iris")).mean()), 2)
            -3.14
        """
        rows = as_rows(x, weights)
        model = cls(rows.features, latent)
        rows = rows.conformed(model)
        model.schema = rows.schema
        model._set_units(rows)
        values, vectors = torch.linalg.eigh(rows.moments.covariance)
        values, vectors = values.flip(0), vectors.flip(1)
        model._require_noise(values[latent:].mean(), values.mean())
        variance = values[latent:].mean()
        model.loc = rows.moments.mean
        model.loading = vectors[:, :latent] * (values[:latent] - variance).clamp(min=0).sqrt()
        model.scale = variance.sqrt()
        model.rotate()
        return model

    @property
    def numeric_columns(self) -> range:
        """All columns."""
        return range(self.features)

    # the pair

    def decode(self, z: Float[Tensor, "*s q"]) -> dist.Independent:
        """p(x | z) = N(loc + loading z, scale^2 I) of z (..., q): batch shape (...), event shape (d,)."""
        self._require_parameters()
        return dist.Normal(self.loc + z @ self.loading.T, self.scale, validate_args=False).to_event(1)

    def encode(self, x: Float[Tensor, "n d"]) -> dist.MultivariateNormal:
        """The exact posterior p(z | x), detached from the parameters. Gradients flow to x.

        log p(x, z) - log q(z | x) is then log p(x) for every z drawn, and its mean gradient is that of log p(x).
        """
        self._require_parameters()
        return LinearGaussian(self.loc.detach(), self.loading.detach(), self.scale.detach()).posterior(x)

    def objective(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """log p(x) of each row (n,) in nats, differentiable in the parameters and in x: the bound is
        tight."""
        self._require_parameters()
        return self._linear().log_evidence(self._centred(self.checked(x, labels)))

    def evidence(self, x: Any) -> Float[Tensor, " n"]:
        """log p(x) of each row (n,) in nats: the bound."""
        return self.bound(x)

    @torch.no_grad()
    def reconstruct(self, x: Any) -> Float[Tensor, "n d"]:
        """loc + loading E[z | x], (n, d): the rows without what the latent dimensions do not explain."""
        self._require_parameters()
        return (self.loc + self._linear().fitted(self._centred(self.checked(x)))).detach()

    # the two steps of EM

    @torch.no_grad()
    def expect(self, x: Any, weights: Any = None, labels: Any = None) -> Statistics:
        """E-step: sums over rows, about `origin`, of x, E[z], x E[z]', E[z z'] and x'x, in this order in `total`.

        Args:
            x: Rows (n, d).
            weights: Row weights (n,), or None.
            labels: None: a continuous z has no labels.

        Returns:
            `Statistics` with the bound of the rows.
        """
        self._refuse_labels(labels)
        self._require_parameters()
        x = as_tensor(conform(x, self), self.features)
        weights = as_weights(weights, len(x), some=False)
        x = x.to(self.origin)
        weights = None if weights is None else weights.to(x)
        kept = slice(None) if weights is None else weights > 0
        x, w = x[kept], x.new_ones(len(x)) if weights is None else weights[kept]
        return expected_statistics(self._linear(), x - self.origin, self._centred(x), w)

    @torch.no_grad()
    def maximize(self, statistics: Statistics, length: float = 1.0) -> None:
        """M-step: least squares of x on (z, 1), and the mean square of the residuals. Frozen parameters do not change.

        Args:
            statistics: The result of `expect`, added over all rows.
            length: Not used: the M-step goes to the maximum.
        """
        q = self.latent
        current = torch.cat([self.loading, (self.unit * self.loc_unconstrained)[:, None]], 1).detach()
        frozen = torch.tensor([self.is_frozen("loading")] * q + [self.is_frozen("loc")])
        coefficients, variance = regress(statistics, current, frozen)
        if not self.is_frozen("loading"):
            self.loading = coefficients[:, :q]
        if not self.is_frozen("loc"):
            self.loc = self.origin + coefficients[:, q]
        if not self.is_frozen("scale"):
            self.scale = variance.sqrt()

    def remeasure(self, statistics: Statistics) -> Statistics:
        """The same statistics: all are taken about the one `origin`."""
        return statistics

    # starting, checking, turning

    @on_the_cpu
    @torch.no_grad()
    def initialize(self, x: Any, weights: Any, generator: torch.Generator, redraw: bool = True) -> None:
        """Learn the names and the unit of the data, then draw starting parameters.

        They are the mean of the data, a random loading, and a noise of half the mean variance of a column.

        Args:
            x: The table, as `fit` takes it.
            weights: Row weights (n,), or None.
            generator: The source of random numbers.
            redraw: False keeps parameters that are already set. Frozen parameters are always kept.
        """
        rows = self._learn_table(x, weights)
        self.require_frozen_set()
        kept = [name for name in self.names_set if not redraw or self.is_frozen(name)]
        own = {name: self.value(name).detach().clone() for name in kept}
        self._set_units(rows)
        spread = self.unit.squeeze() / 2**0.5
        drawn = torch.randn(self.features, self.latent, generator=generator, dtype=torch.float64)
        start = {"loc": rows.spread.mean, "loading": spread * drawn / self.latent**0.5, "scale": spread}
        for name, value in (start | own).items():
            setattr(self, name, value)

    def check(self) -> None:
        """Raise `Collapse` if almost no noise is left: the likelihood then has no upper bound."""
        self._require_noise(self.scale.detach() ** 2, self.unit.squeeze() ** 2)

    @torch.no_grad()
    def rotate(self) -> None:
        """Turn z to the principal axes, in place; the distribution of x stays the same.

        The columns of `loading` become orthogonal, the longest first, and the largest entry of each is positive.
        """
        left, lengths, _ = torch.linalg.svd(self.loading, full_matrices=False)
        largest = left.gather(0, left.abs().argmax(0, keepdim=True))
        self.loading = left * lengths * torch.where(largest < 0, -1.0, 1.0)

    def free_parameters(self) -> int:
        """d of loc, d q - q (q - 1) / 2 of the loading (less rotations of z), 1 of the scale; 0 of frozen ones."""
        d, q = self.features, self.latent
        numbers = {"loc": d, "loading": d * q - q * (q - 1) // 2, "scale": 1}
        return sum(number for name, number in numbers.items() if not self.is_frozen(name))

    # inside

    def _linear(self) -> LinearGaussian:
        return LinearGaussian(self.loc, self.loading, self.scale)

    def _centred(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """x - loc, without the rounding error of a far origin."""
        return (x - self.origin) - self.unit * self.loc_unconstrained

    def _set_units(self, rows: Rows) -> None:
        """Measure from the mean of the data (or a frozen loc), in the root mean variance of a column."""
        names_set = set(self.names_set)
        kept = {name: self.value(name).detach().clone() for name in ("loc", "loading")}
        mean, variance = rows.spread.mean, rows.spread.variance.mean()
        self._require_noise(variance, mean.square().mean() * torch.finfo(torch.float64).eps)
        centre = kept["loc"] if self.is_frozen("loc") else mean  # a frozen loc keeps its bits at the origin
        self.origin, self.unit = centre.to(self.origin), variance.sqrt().reshape(1).to(self.unit)
        for name, value in kept.items():
            setattr(self, name, value)
        self.names_set = names_set  # the values are the same, in new units

    def _require_noise(self, variance: Tensor, total: Tensor) -> None:
        if not variance > COLLAPSED * total:
            raise Collapse(
                f"the noise variance is almost 0 with {self.latent} latent dimensions: some columns follow from "
                "others, or their units differ too widely",
                cure="drop such columns, or take fewer latent dimensions; or use units that are closer",
            )

    def _require_parameters(self) -> None:
        if not self.is_set:
            raise ValueError(
                "the parameters of this PPCA are not set: fit it, seed(model, x) it, take PPCA.closed_form(x, latent), "
                "or assign loc, loading and scale"
            )
