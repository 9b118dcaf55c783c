"""Probabilistic PCA: the linear-Gaussian latent variable model, by EM, by SVI, and in closed form."""

from __future__ import annotations

from typing import Any

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
from ..data_units import Located
from ..module import on_the_cpu, require_size
from .continuous_latent import ContinuousLatent
from .linear_gaussian import LinearGaussian

COLLAPSED = 1e-13  # of the noise variance, relative to that of the data: a thousand times what rounding leaves of 0
ROUNDING = 1e-14  # of the mean square of a cell: what rounding may leave of a noise variance of 0


class PPCA(ContinuousLatent):
    """z ~ N(0, I) in `latent` dimensions, x | z ~ N(loc + loading z, scale^2 I) in `features` > latent.

    Parameters: `loc` (d,), `loading` (d, q), `scale` (), in the units of the data. The guide is the exact posterior, so
    that the bound is log p(x) = log N(x; loc, loading loading' + scale^2 I). The loading is known up to a rotation of
    z; `rotate()` turns it to the principal axes. The closed form is `PPCA.closed_form(x, latent)`; EM and SVI reach the
    same optimum, EM slowly where the units of the columns differ widely.
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
    generalized = False  # the M-step goes to the maximum

    def __init__(self, features: int, latent: int):
        super().__init__()
        require_size(features=features, latent=latent)
        if latent >= features:
            raise ValueError(
                f"latent is {latent!r} for {features} features, expected at most {features - 1}: some direction must "
                "be left to the noise"
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
        """The maximum likelihood parameters from the eigenvalues l_1 >= l_2 >= ... and eigenvectors U of the covariance
        of x: scale^2 is the mean of those left over, loading = U diag(sqrt(l - scale^2)). weights: (n,) or None.

        Raises ValueError for fewer than latent + 1 columns, `Collapse` if no variance is left over.
        """
        rows = as_rows(x, weights)
        model = cls(rows.features, latent)
        model.schema = rows.schema
        model._anchor(rows)
        values, vectors = torch.linalg.eigh(rows.moments.covariance)
        values, vectors = values.flip(0), vectors.flip(1)
        model._require_noise(values[latent:].mean(), values.mean())
        variance = values[latent:].mean()
        model.loc = rows.moments.mean
        model.loading = vectors[:, :latent] * (values[:latent] - variance).clamp(min=0).sqrt()
        model.scale = variance.sqrt()
        model.rotate()
        return model

    # the pair

    def decode(self, z: Float[Tensor, "*s q"]) -> dist.Independent:
        """p(x | z) = N(loc + loading z, scale^2 I)."""
        self._require_parameters()
        return dist.Normal(self.loc + z @ self.loading.T, self.scale, validate_args=False).to_event(1)

    def encode(self, x: Float[Tensor, "n d"]) -> dist.MultivariateNormal:
        """The exact posterior p(z | x), detached: log p(x, z) - log q(z | x) is then log p(x) for every z drawn, and
        its gradient that of log p(x) in the mean."""
        self._require_parameters()
        with torch.no_grad():
            return self._linear().posterior(x)

    def objective(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """log p(x) of each row, differentiable in the parameters: the bound is tight."""
        self._unlabelled(labels)
        self._require_parameters()
        return self._linear().log_evidence(self._centred(self._table(x)))

    def evidence(self, x: Any) -> Float[Tensor, " n"]:
        """log p(x) of each row: the bound."""
        return self.bound(x)

    # the two steps of EM

    @torch.no_grad()
    def expect(self, x: Any, weights: Any = None, labels: Any = None) -> Statistics:
        """E-step: sums over rows, about `origin`, of x, E[z], x E[z]', E[z z'] and x'x, in this order in `total`."""
        self._unlabelled(labels)
        self._require_parameters()
        x = as_tensor(conform(x, self), self.features)
        weights = as_weights(weights, len(x), some=False)
        x = x.to(self.origin)
        weights = None if weights is None else weights.to(x)
        kept = slice(None) if weights is None else weights > 0
        x, w = x[kept], x.new_ones(len(x)) if weights is None else weights[kept]
        linear, y = self._linear(), self._centred(x)
        factor = torch.linalg.cholesky(linear.precision())
        z = linear.posterior_mean(y, factor)
        y = x - self.origin
        wy, wz = y * w[:, None], z * w[:, None]
        parts = (
            wy.sum(0),
            wz.sum(0),
            wy.T @ z,
            wz.T @ z + w.sum() * torch.cholesky_inverse(factor),
            (wy * y).sum(),
        )
        total = torch.cat([part.flatten() for part in parts]).unsqueeze(0)
        bound = linear.log_evidence(self._centred(x)) @ w
        return Statistics(w.sum().reshape(1), total, bound, w.sum())

    @torch.no_grad()
    def maximize(self, statistics: Statistics, length: float = 1.0) -> None:
        """M-step: the least squares of x on (z, 1), and the mean square of what it leaves."""
        d, q = self.features, self.latent
        n = statistics.total_weight
        x, z, xz, zz, xx = statistics.total[0].split([d, q, d * q, q * q, 1])
        xz, zz = xz.reshape(d, q), zz.reshape(q, q)
        # [z; 1] [z; 1]' and x [z; 1]'
        gram = torch.cat([torch.cat([zz, z[:, None]], 1), torch.cat([z, n.reshape(1)])[None]])
        cross = torch.cat([xz, x[:, None]], 1)
        coefficients = torch.cat([self.loading, (self.unit * self.loc_unconstrained)[:, None]], 1).detach()
        frozen = torch.tensor([self.is_frozen("loading")] * q + [self.is_frozen("loc")])
        held, free = frozen.nonzero().squeeze(1), (~frozen).nonzero().squeeze(1)
        if len(free):  # of what the held coefficients leave
            rest = cross[:, free] - coefficients[:, held] @ gram[held][:, free]
            coefficients[:, free] = torch.cholesky_solve(rest.T, torch.linalg.cholesky(gram[free][:, free])).T
        if not self.is_frozen("loading"):
            self.loading = coefficients[:, :q]
        if not self.is_frozen("loc"):
            self.loc = self.origin + coefficients[:, q]
        if self.is_frozen("scale"):
            return
        left = xx.squeeze() - (coefficients * cross).sum()
        if len(held):  # (else the coefficients are orthogonal to what they leave)
            left = left - (coefficients * (cross - coefficients @ gram)).sum()
        self.scale = (left / (n * d)).clamp(min=ROUNDING * xx.squeeze() / (n * d)).sqrt()

    def remeasure(self, statistics: Statistics) -> Statistics:
        """The same: all are measured from the one `origin`."""
        return statistics

    # starting, checking, turning

    @on_the_cpu
    @torch.no_grad()
    def initialize(self, x: Any, weights: Any, generator: torch.Generator, redraw: bool = True) -> None:
        """Learn the names and the unit of the data; then, unless parameters are set and redraw=False, draw new ones: a
        random loading and a noise of half the mean variance of a column each, the mean of the data."""
        rows = as_rows(x, weights)
        self._unlabelled(rows.labels)
        self._require_columns(rows)
        self.schema = rows.schema or self.schema
        self.require_frozen_set()
        kept = [name for name in self.names_set if not redraw or self.is_frozen(name)]
        own = {name: getattr(self, name).detach().clone() for name in kept}
        self._anchor(rows)
        spread = self.unit.squeeze() / 2**0.5
        drawn = torch.randn(self.features, self.latent, generator=generator, dtype=torch.float64)
        start = {"loc": rows.spread.mean, "loading": spread * drawn / self.latent**0.5, "scale": spread}
        for name, value in (start | own).items():
            setattr(self, name, value)

    def check(self) -> None:
        """Raise `Collapse` if no noise is left: some columns follow from others, and the likelihood has no bound."""
        self._require_noise(self.scale.detach() ** 2, self.unit.squeeze() ** 2)

    @torch.no_grad()
    def rotate(self) -> None:
        """Turn z to the principal axes, in place: the columns of `loading` become orthogonal, the longest first, each
        with its largest entry positive. The distribution of x stays the same."""
        left, lengths, _ = torch.linalg.svd(self.loading, full_matrices=False)
        largest = left.gather(0, left.abs().argmax(0, keepdim=True))
        self.loading = left * lengths * torch.where(largest < 0, -1.0, 1.0)

    def free_parameters(self) -> int:
        """d of loc, d q of the loading less the q (q - 1) / 2 of a rotation of z, 1 of the scale; 0 of frozen ones."""
        d, q = self.features, self.latent
        numbers = {"loc": d, "loading": d * q - q * (q - 1) // 2, "scale": 1}
        return sum(number for name, number in numbers.items() if not self.is_frozen(name))

    # inside

    def _linear(self) -> LinearGaussian:
        return LinearGaussian(self.loc, self.loading, self.scale)

    def _centred(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """x - loc, without the rounding that a far origin would bring in."""
        return (x - self.origin) - self.unit * self.loc_unconstrained

    def _anchor(self, rows: Rows) -> None:
        """Measure from the mean of the data (from a frozen loc), in the root mean variance of a column."""
        names_set = set(self.names_set)
        kept = {name: getattr(self, name).detach().clone() for name in ("loc", "loading")}
        mean, variance = rows.spread.mean, rows.spread.variance.mean()
        self._require_noise(variance, mean.square().mean() * torch.finfo(torch.float64).eps)
        centre = kept["loc"] if self.is_frozen("loc") else mean  # which keeps its bits there
        self.origin, self.unit = centre.to(self.origin), variance.sqrt().reshape(1).to(self.unit)
        for name, value in kept.items():
            setattr(self, name, value)
        self.names_set = names_set  # measured anew, not set

    def _require_noise(self, variance: Tensor, whole: Tensor) -> None:
        if not variance > COLLAPSED * whole:
            raise Collapse(
                f"the noise variance is all but 0 beside {self.latent} latent dimensions: some columns follow from "
                "others, or their units differ too widely",
                cure="drop such columns, or take fewer latent dimensions; or measure them in units that are closer",
            )

    def _require_parameters(self) -> None:
        if not self.is_set:
            raise ValueError(
                "the parameters of this PPCA are not set: fit it, seed(model, x) it, take PPCA.closed_form(x, latent), "
                "or assign loc, loading and scale"
            )
