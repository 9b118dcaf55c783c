"""Gaussian components with six covariance structures."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution

from ...data.moments import Moments
from ...data.threads import threads_for
from ..kernels.gaussian_parameters import can_compile_parameters, coefficients
from ..kernels.gaussian_pass import GaussianPass, log_density, max_squared_distance, sum_statistics
from ..kernels.visit import Visit
from .abilities import AllowsFrozen, HasExpectedLogProb, SideBySide, TakesMissing
from .gaussian_m_step import GaussianMStep
from .gaussian_missing import GaussianMissing

SUMMED_VALUES = 1 << 18  # values times components whose centred values are held in memory at a time
BLOCK_VALUES = 1 << 19  # numbers that a block holds for each thread: 4 MiB
BLOCK_ROWS = 1 << 15
SHRUNK = 1e-11  # a variance beside squares of the data, that rounding hides
IN_DIRECTION = 0.1  # the part of a column in a direction, relative to the largest, that counts
COLLAPSED = 1e-10  # smallest eigenvalue of a covariance relative to the average component's


class Gaussian(GaussianMStep, GaussianMissing, AllowsFrozen, TakesMissing, SideBySide, HasExpectedLogProb):
    """k Gaussians in d dimensions: p(x | z = k) = N(x; loc[k], Sigma[k]).

    Parameters: `loc` (k, d), in the units of the data, and the scale of each component. A full covariance has
    `scale_tril` (k, d, d), the Cholesky factors of Sigma; tied: (d, d). The others have `scale`, standard deviations:
    "diag" (k, d), "spherical" (k,), "tied-diag" (d,), "tied-spherical" ().

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        covariance: "full", "diag" or "spherical": each component has its own covariance; "tied", "tied-diag" or
            "tied-spherical": all components share one.
        prior: None for maximum likelihood, "weak" (the prior of Fraley & Raftery 2007: d + 2 degrees of freedom
            with the covariance of the data / k^(2 / d), and 0.01 rows at their mean), or a `NormalInverseWishart`.
        variance_floor: The least variance, in squared units of the data, for structures without correlations. EM then
            finds the maximum likelihood under this constraint, also where a column is constant in a component.

    Raises:
        ValueError: An argument has another value than those above, or variance_floor is given for "full" or "tied".

    Example:
        >>> import torch
        >>> from lowerbound.models import Gaussian
        >>> family = Gaussian(components=2, features=1)
        >>> family.loc = torch.tensor([[0.0], [3.0]])
        >>> family.scale_tril = torch.tensor([[[1.0]], [[2.0]]])
        >>> family.log_prob(torch.zeros(1, 1).double()).detach().numpy().round(3)
        array([[-0.919, -2.737]])
    """

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): N(loc[z], Sigma[z])."""
        scale = self.scale_parameter if self.tied and self.copies == 1 else self.scales()[z]
        return self.shape.distribution(self.loc[z], scale)

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """T(y) = (y, S(y)): the row, and its products y_i y_j for i <= j, its squares or its squared length."""
        return torch.cat([x.T, self.shape.products(x.T)]).T

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log N(x; loc[k], Sigma[k]) in nats, differentiable in the parameters."""
        return log_density(self.shape, self.scales(), self.centred(x)).T

    def centred(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "k d n"]:
        """x - loc of each component."""
        return x.T - self.origin.unsqueeze(-1) - self.loc_from_origin().unsqueeze(-1)

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Sums of r T(x - origin[k]) over rows."""
        size = max(1, SUMMED_VALUES // x.numel()) if len(x) else self.components  # components at a time
        pairs = zip(self.origin.split(size), responsibilities.T.split(size), strict=True)
        return torch.cat([sum_statistics(self.shape, x.T - origin.unsqueeze(-1), r) for origin, r in pairs])

    def visit(self) -> Visit:
        """The fused pass: one matrix product for all log densities, one for all sums."""
        return self.visit_in(torch.float64)

    def visit_in(self, dtype: torch.dtype) -> Visit:
        """The fused pass in another precision, where that has enough digits for all components."""
        tied = self.components // self.copies if self.tied else 0
        if not self.variance_floor and can_compile_parameters(self.origin):
            stored = self.origin, self.loc_unconstrained, self.unit, self.unconstrained(self.shape.name)
            found = coefficients(self.shape, *stored, max_squared_distance(dtype))
            if found is not None:
                own = GaussianPass.of_coefficients(self.shape, *found, tied, dtype)
                return Visit(own, compiled=own.linear)
        with torch.no_grad(), threads_for(self.components * self.features**2):
            measured = self.shape, self.origin, self.loc_from_origin(), self.unit, self.scales(), tied
            own = GaussianPass(*measured, dtype)
            if own.far and dtype != torch.float64:
                own = GaussianPass(*measured)
            return Visit(own, compiled=None if own.far else own.linear)

    @property
    def block_rows(self) -> int:
        """How many rows `visit` takes at a time where it is not compiled: what it makes of them stays in cache."""
        values = BLOCK_VALUES * torch.get_num_threads()
        d, k = self.features, self.components
        return max(512, min(BLOCK_ROWS, values // (d + self.shape.size(d) + 2 * k)))

    def outside(self, x: Float[Tensor, "n d"]) -> None:
        """None: all numbers are possible."""

    def moments(self) -> Moments:
        """Mean (k, d) and covariance (k, d, d) of each component."""
        return Moments(self.loc.detach(), self.shape.matrix(self.scales().detach(), self.features))

    def expected_log_prob(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, " k"]:
        """-(weight (d log 2 pi + log |Sigma|) + tr(inv(Sigma) scatter about loc)) / 2 of each component."""
        shape, d, offset = self.shape, self.features, self.loc_from_origin()
        first, second = total.split([d, shape.size(d)], -1)
        scatter = second - 2 * shape.product(first, offset) + weight.unsqueeze(-1) * shape.product(offset, offset)
        log_det = d * math.log(2 * math.pi) + shape.log_det(self.scales(), d)
        return -0.5 * (weight * log_det + shape.trace(self.scales(), scatter, d))

    def shrunk(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, "k d"]:
        """(k, d) the columns in which the variance of a component is below 1e-10 of that of the average component, or
        cannot be told from 0 beside the mean."""
        moments = self.moments()
        variance = moments.covariance.diagonal(dim1=-2, dim2=-1).unflatten(0, (self.copies, -1))
        average = weights.reshape(self.copies, 1, -1) @ variance
        hidden = SHRUNK * (self.unit**2 + self.loc_from_origin().detach() ** 2)
        thin = (variance <= COLLAPSED * average).flatten(0, 1)
        return thin | self.blurred.unsqueeze(-1) & (variance.flatten(0, 1) <= hidden)

    def dependent_columns(self, component: int) -> list[int]:
        """The columns of the thinnest direction of a component, each measured in its standard deviation there."""
        covariance = self.moments().covariance[component]
        width = covariance.diagonal().sqrt()
        direction = torch.linalg.eigh(covariance / torch.outer(width, width))[1][:, 0].abs()
        return (direction > IN_DIRECTION * direction.max()).nonzero().flatten().tolist()

    def collapsed(self, weights: Float[Tensor, " k"]) -> Tensor:
        """(k,) the components that are too thin: their covariance, whitened by that of the average component, has an
        eigenvalue below 1e-10, or is singular up to rounding.

        They are compared with the average component, not with the data: well separated clusters are thin relative to
        the distance between them.
        """
        if self.tied or self.is_frozen(self.shape.name):
            return self.blurred
        return self.blurred | ~(self.thinness(weights) > COLLAPSED)

    def thinness(self, weights: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """(k,) the smallest eigenvalue of each covariance, whitened by that of the average component."""
        scales, d = self.scales().detach(), self.features
        covariance = self.shape.covariance(scales, d).unflatten(0, (self.copies, -1))
        average = (weights.reshape(self.copies, 1, -1) @ covariance).expand_as(covariance).flatten(0, 1)
        return self.shape.relative(scales, average, d)

    @property
    def least_rows(self) -> int:
        """d + 1 for a full covariance, 2 for one without correlations; 0 where something keeps it from collapsing."""
        if self.tied or self.has_prior or self.variance_floor or self.is_frozen(self.shape.name):
            return 0
        return self.features + 1 if self.shape.scale_dims == 2 else 2
