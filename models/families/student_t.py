"""Student-t components: Gaussians with tails heavy enough for outliers."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float, Int
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from ...data.moments import Moments
from ..kernels.special_functions import gamma_shape, log_gamma_ratio, log_minus_digamma
from ..kernels.visit import Summarize, Visit
from .abilities import AllowsFrozen, SideBySide, TakesMissing
from .family import Profile
from .gaussian import Gaussian
from .normal_inverse_wishart import NormalInverseWishart

GAUSSIAN = 1e8  # largest degrees of freedom: from here on a t distribution is Gaussian to 1e-8
FEWEST = 1e-3  # smallest degrees of freedom
NOISE = 1e-14  # slopes in nats below which there is nothing but rounding
START = 10.0  # degrees of freedom to begin with, where they are estimated


class StudentT(AllowsFrozen, TakesMissing, SideBySide):
    """k multivariate t distributions in d dimensions: x | z = k ~ t(dof[k], loc[k], Sigma[k]).

    A Gaussian whose covariance is divided by a second latent variable u ~ Gamma(dof / 2, dof / 2), one for each row: an
    outlier is a row of small u, and counts for little. covariance: the structure of the scale matrix Sigma, as in
    `Gaussian`; dof: the degrees of freedom, one for all or one for each component, or None to estimate them.
    Parameters: `loc` and `scale_tril` or `scale`, as in `Gaussian`, and `dof` (k,). prior: of loc and Sigma, as there.

    The E-step takes u to its posterior mean. The M-step divides the scatter by the sum of u instead of the rows, which
    raises the bound faster (parameter-expanded EM: Liu, Rubin & Wu, Biometrika 85 (1998), 755-770; Peel & McLachlan,
    Statistics and Computing 10 (2000), 339-348). Degrees of freedom take a Newton step on log p itself, which is many
    times faster than EM's, above all towards the Gaussian; where it would go too far, EM's own.
    """

    dof: Tensor
    normal: Gaussian

    def __init__(
        self,
        components: int,
        features: int,
        dof: Any = None,
        covariance: str = "full",
        prior: str | NormalInverseWishart | None = None,
    ):
        super().__init__()
        self.normal = Gaussian(components, features, covariance, prior)
        start = torch.as_tensor(START if dof is None else dof, dtype=torch.float64)
        if start.shape not in ((), (components,)) or not (start > 0).all():
            raise ValueError(f"dof is {dof!r}, expected None, a positive number, or one for each of {components}")
        start = start.expand(components).clone()
        self.estimated = self.generalized = dof is None
        if self.estimated:
            self.dof = PyroParam(start, constraints.positive)  # type: ignore[assignment]
        else:
            self.register_buffer("dof", start)

    @property
    def loc(self) -> Tensor:
        """Locations (k, d)."""
        return self.normal.loc

    @loc.setter
    def loc(self, value: Any) -> None:
        self.normal.loc = value

    @property
    def scale_tril(self) -> Tensor:
        """Cholesky factors of the scale matrices."""
        return self.normal.scale_tril  # type: ignore[return-value]

    @scale_tril.setter
    def scale_tril(self, value: Any) -> None:
        self.normal.scale_tril = value

    @property
    def scale(self) -> Tensor:
        """Square roots of the diagonals of the scale matrices, where those are diagonal."""
        return self.normal.scale  # type: ignore[return-value]

    @scale.setter
    def scale(self, value: Any) -> None:
        self.normal.scale = value

    # the family

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): a multivariate t."""
        factor = self._factor()
        return dist.MultivariateStudentT(self.dof[z], self.loc[z], factor[z])

    @property
    def features(self) -> int:
        """d, the number of columns of x."""
        return self.normal.features

    @property
    def components(self) -> int:
        """k, the number of members."""
        return self.normal.components

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log t(x; dof[k], loc[k], Sigma[k]) in nats, differentiable in the parameters."""
        normal = self.normal.log_prob(x)
        return self._density(normal, self._squared(normal), self.features)

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Sums of r u T(x), of r times a curvature in dof, of r u and of r log u, with T that of `Gaussian`, at the
        parameters as they stand."""
        scaled, own = self._scales(self._squared(self.normal.log_prob(x)), self.features, responsibilities)
        return torch.cat([self.normal.summarize(x, scaled), own], -1)

    def visit_missing(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Summarize]:
        """log t(seen cells), of as many dimensions, and the sums of E[u T(x) | seen cells] and so on: conditional
        covariances are divided by u, and so count once."""
        given, offset = self.normal.given(x), self.normal._offset().detach()

        def pack(responsibilities: Tensor) -> Tensor:
            scaled, own = self._scales(given.squared, given.seen, responsibilities)
            return torch.cat([given.sums(offset, scaled, responsibilities), own], -1)

        return self._density(given.log_prob, given.squared, given.seen), pack

    def moments_given(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k d"]]:
        """Mean and variance of each cell given the seen ones, those of a t distribution with dof + seen cells degrees
        of freedom: infinite for dof + seen <= 2, and no mean, NaN, for dof + seen <= 1."""
        mean, variance = self.normal.moments_given(x)
        given = self.normal.given(x)
        dof = self.dof.detach() + given.seen
        factor = torch.where(dof > 2, (self.dof.detach() + given.squared) / (dof - 2).clamp(min=1e-300), torch.inf)
        mean = torch.where((dof > 1).unsqueeze(-1) | ~x.isnan().unsqueeze(1), mean, torch.nan)
        return mean, torch.where(variance > 0, variance * factor.unsqueeze(-1), 0.0)

    def draw_missing(self, x: Float[Tensor, "n d"], z: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """Those of a Gaussian, and their u first."""
        given = self.normal.given(x)
        dof, row = self.dof.detach()[z], torch.arange(len(x), device=x.device)
        u = dist.Gamma((dof + given.seen.squeeze(1)) / 2, (dof + given.squared[row, z]) / 2).sample()
        return self.normal.draw_missing(x, z, u.rsqrt())

    def visit(self) -> Visit:
        """The fused pass of the Gaussian inside."""
        visit = self.normal.visit()

        def block(x: Tensor) -> tuple[Tensor, Summarize]:
            normal, summarize = visit.block(x)

            def pack(responsibilities: Tensor) -> Tensor:
                scaled, own = self._scales(squared, self.features, responsibilities)
                return torch.cat([summarize(scaled), own], -1)

            with torch.no_grad():
                squared = self._squared(normal)
                return self._density(normal, squared, self.features), pack

        return Visit(block)

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"], length: float = 1.0) -> None:
        """M-step: locations and scales as of a Gaussian with rows of weight r u, and the degrees of freedom: a Newton
        step, or if that was too long (length below 1) the step of EM, which never is."""
        curvature, scaled, logs = total[:, -3:].unbind(-1)
        frozen = self.normal.is_frozen(self.normal.shape.name)
        expanded = self.normal.prior is None and not self.normal.tied and not frozen
        self.normal.maximize(scaled, total[:, :-3], scatter_weight=scaled if expanded else weight)
        if not self.estimated or self.is_frozen("dof"):
            return
        some, rows, dof = weight > 0, weight.clamp(min=1e-300), self.dof.detach()
        mean, curvature, logs = scaled / rows, curvature / rows, logs / rows
        if length == 1:
            new = dof * _newton(dof, mean, curvature, logs).exp()
        else:
            new = 2 * gamma_shape((mean.clamp(min=1e-300).log() if expanded else mean - 1) - logs)
        self.dof = torch.where(some, new.clamp(FEWEST, GAUSSIAN), dof)

    def fixed_location(self) -> Float[Tensor, "k d"] | None:
        """The locations, if they are frozen."""
        return self.normal.fixed_location()

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """The sums of the Gaussian inside, whose rows count r u; the others stay."""
        return torch.cat([self.normal.remeasure(total[:, -2], total[:, :-3]), total[:, -3:]], -1)

    def start(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> None:
        """First parameters: those of a Gaussian."""
        self.normal.start(x, responsibilities)
        if self.estimated:
            self.dof = torch.full_like(self.dof, START)

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Measure from `centres`, in the standard deviations of the data."""
        self.normal.set_units(centres, data)

    @property
    def block_rows(self) -> int:
        """As for the Gaussian inside."""
        return self.normal.block_rows

    def outside(self, x: Float[Tensor, "n d"]) -> None:
        """Nothing: all numbers are possible."""

    def moments(self) -> Moments:
        """Mean (k, d) and covariance dof / (dof - 2) Sigma (k, d, d), infinite for dof <= 2."""
        inside, dof = self.normal.moments(), self.dof.detach()
        factor = torch.where(dof > 2, dof / (dof - 2).clamp(min=1e-300), torch.inf)
        return Moments(inside.mean, factor[:, None, None] * inside.covariance)

    def profiles(self) -> list[Profile]:
        """Locations, scales of the columns, and degrees of freedom."""
        inside, columns = self.normal.moments(), range(self.features)
        scale = inside.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        dof = Profile("dof", self.dof.detach().unsqueeze(-1), [-1])
        return [Profile("location", inside.mean, columns), Profile("scale", scale, columns), dof]

    def log_prior(self) -> Float[Tensor, "*copies"]:
        """log p(loc, Sigma) under the prior: 0 without one."""
        return self.normal.log_prior()

    def collapsed(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """Which members are too thin, as in `Gaussian`."""
        return self.normal.collapsed(weights)

    # inside

    def _factor(self) -> Tensor:
        """The Cholesky factor of each scale matrix (k, d, d)."""
        scales = self.normal.scales()
        k, d = self.components, self.features
        if self.normal.shape.scale_dims == 2:
            return scales
        return torch.diag_embed(scales.reshape(k, -1).expand(k, d))

    def _squared(self, normal: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """Squared Mahalanobis distances, from the Gaussian log densities."""
        d = self.features
        log_det = self.normal.shape.log_det(self.normal.scales(), d)
        return (-2 * normal - d * math.log(2 * math.pi) - log_det).clamp(min=0)

    def _density(self, normal: Tensor, squared: Tensor, d: Tensor | int) -> Float[Tensor, "n k"]:
        """Gaussian log densities and squared distances to the log densities of the t distributions, in d dimensions."""
        half = self.dof / 2
        at_centre = normal + squared / 2  # (n, k), the same for all rows of d dimensions
        tail = log_gamma_ratio(half, torch.as_tensor(d / 2, dtype=half.dtype, device=half.device)) - d / 2 * half.log()
        return at_centre + tail - (half + d / 2) * torch.log1p(squared / self.dof)

    def _scales(
        self, squared: Tensor, d: Tensor | int, responsibilities: Tensor
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "k 3"]]:
        """r E[u], and the sums of r times what a row gives to the second derivative in dof, of r E[u] and of
        r E[log u], where u given the row is Gamma((dof + d) / 2, (dof + squared distance) / 2)."""
        dof = self.dof.detach()
        rate = (dof + squared.detach()) / 2
        shape = (dof + d) / 2
        u = shape / rate
        scaled = responsibilities * u
        logs = (responsibilities * (torch.digamma(shape) - rate.log())).sum(0)
        bend = responsibilities * 0.25 * torch.polygamma(1, shape) + scaled * (0.5 * u - 1) / (dof + d)
        return scaled, torch.stack([bend.sum(0), scaled.sum(0), logs], -1)


def _newton(dof: Tensor, mean: Tensor, curvature: Tensor, logs: Tensor) -> Tensor:
    """The Newton step of log dof on the average log p(x), from the averages of u, of the rows' part of the curvature
    and of log u; 1 up or down where the slope rises, and no longer than 2."""
    half = dof / 2
    slope = 0.5 * (log_minus_digamma(half) + 1 + logs - mean)
    curvature = curvature - 0.25 * torch.polygamma(1, half) + 0.5 / dof
    first, second = dof * slope, dof**2 * curvature + dof * slope  # in log dof
    step = torch.where(second < 0, -first / second, first.sign())
    return torch.where(first.abs() < NOISE, 0.0, step).nan_to_num().clamp(-2.0, 2.0)
