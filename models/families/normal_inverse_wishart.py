"""The conjugate prior of a Gaussian, which keeps a component from shrinking onto a single row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...data.moments import Moments
from ..kernels.covariance_shapes import Diagonal, Full, Shape, Spherical


@dataclass(frozen=True)
class NormalInverseWishart:
    """mu | Sigma ~ N(location, Sigma / location_weight) and Sigma ~ InverseWishart(dof, scale).

    The density in Sigma is proportional to |Sigma|^(-(dof + d + 1) / 2) exp(-tr(scale inv(Sigma)) / 2). For diagonal
    and spherical covariances each variance is InverseGamma(dof / 2, scale / 2). Gelman et al., Bayesian Data Analysis,
    section 3.6; Fraley & Raftery, Journal of Classification 24 (2007), 155-181.

    Args:
        location: (d,) the prior mean of mu, in the units of the data.
        location_weight: How many rows this mean counts for, above 0.
        dof: Degrees of freedom, above d - 1; for diagonal and spherical covariances above 0.
        scale: In squared units of the data: (d, d) positive definite for full and tied covariances, (d,) for diagonal
            ones, a number for spherical ones.

    Example:
        >>> import torch
        >>> from lowerbound.models import Gaussian, NormalInverseWishart
        >>> prior = NormalInverseWishart(location=[0.0], location_weight=1.0, dof=3.0, scale=[[1.0]])
        >>> family = Gaussian(components=1, features=1, prior=prior)
        >>> family.maximize(torch.tensor([1.0]), torch.tensor([[2.0, 4.0]]))  # one row, at 2
        >>> family.loc.item()  # halfway to the prior mean
        1.0
    """

    location: Any
    location_weight: float
    dof: float
    scale: Any


def weak_prior(shape: Shape, components: int, moments: Moments) -> NormalInverseWishart:
    """The weak prior of Fraley & Raftery (2007): 0.01 rows at the mean of the data, d + 2 degrees of freedom, and the
    scale covariance / k^(2 / d): d + 2 rows as wide as a k-th of the data. A `BayesianMixture` takes k = 1.
    If the covariance is singular, as with fewer rows than columns, its diagonal."""
    d = len(moments.mean)
    covariance = moments.covariance / components ** (2 / d)
    variance = covariance.diagonal()
    deviation = variance.sqrt()
    if torch.linalg.eigvalsh(covariance / (deviation * deviation[:, None]))[0] < 1e-10:
        covariance = torch.diag(variance)
    scale = {Full: covariance, Diagonal: variance, Spherical: variance.mean()}[shape]
    return NormalInverseWishart(moments.mean, 0.01, d + 2.0, scale)


def hyperparameters(prior: NormalInverseWishart | None, shape: Shape, d: int) -> dict[str, Float[Tensor, "..."]]:
    """The fields of a `ConjugatePrior` as float64 tensors; NaN if the prior is not known yet (None).

    Raises ValueError for hyperparameters of the wrong shape, or outside the range where the density is proper.
    """
    size, nan = shape.size(d), math.nan
    if prior is None:
        values = {"location": [nan] * d, "location_weight": nan, "dof": nan, "scatter": [nan] * size}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    location, weight, dof, scale = (
        torch.as_tensor(value, dtype=torch.float64).detach().clone()
        for value in (prior.location, prior.location_weight, prior.dof, prior.scale)
    )
    wanted = (d,) * shape.scale_dims
    if scale.shape != wanted or location.shape != (d,):
        raise ValueError(
            f"the prior has location {tuple(location.shape)} and scale {tuple(scale.shape)}, expected ({d},) and "
            f"{wanted} for this covariance in {d} dimensions"
        )
    scatter = Full.pack(scale) if shape is Full else scale.reshape(size)
    least = d - 1 if shape.scale_dims == 2 else 0
    if not (weight > 0 and dof > least and shape.scale(scatter, d)[1].all()):
        raise ValueError(
            f"the prior has location_weight {float(weight)}, dof {float(dof)} and scale {scale.tolist()}, expected a "
            f"positive weight, dof above {least} and a positive definite scale"
        )
    return {"location": location, "location_weight": weight, "dof": dof, "scatter": scatter}


@dataclass(frozen=True)
class ConjugatePrior:
    """A `NormalInverseWishart` as the M-step and the bound use it: pseudo-rows, and a log density."""

    shape: Shape
    location: Float[Tensor, " d"]
    location_weight: Float[Tensor, ""]
    dof: Float[Tensor, ""]
    scatter: Float[Tensor, " s"]  # the inverse-Wishart scale, packed

    def scatter_weight(self, components: int) -> Tensor:
        """What the prior adds to the weight of the scatter: by the prior of a scale, and by the priors of the locations
        of the components that have this scale."""
        d = len(self.location)
        own = {Full: self.dof + d + 1, Diagonal: self.dof + 2, Spherical: (self.dof + 2) / d}[self.shape]
        return own + components

    def log_prob(
        self, loc: Float[Tensor, "k d"], scales: Float[Tensor, "k ..."], scale: Tensor
    ) -> tuple[Float[Tensor, " k"], Tensor]:
        """log p(loc | Sigma) of each component and log p(Sigma) of each scale, densities in the covariance (or the
        variances), without a Jacobian.

        Args:
            loc: Locations of the components.
            scales: The scale of each component.
            scale: The scale parameter. Tied components share it, and its prior counts once.
        """
        d, dof, kappa = len(self.location), self.dof, self.location_weight
        log_det = self.shape.log_det(scales, d)
        distance = self.shape.whiten(scales, (loc - self.location).unsqueeze(-1)).square().sum((-2, -1))
        location = 0.5 * (d * (kappa / (2 * math.pi)).log() - log_det - kappa * distance)
        log_det = self.shape.log_det(scale, d)
        quadratic = 0.5 * self.shape.trace(scale, self.scatter, d)
        if self.shape is Full:
            factor, _ = Full.scale(self.scatter, d)
            constant = 0.5 * dof * (Full.log_det(factor, d) - d * math.log(2)) - torch.mvlgamma(0.5 * dof, d)
            covariance = constant - 0.5 * (dof + d + 1) * log_det - quadratic
        else:
            log_variance = log_det / (d if self.shape is Spherical else 1)
            constant = (0.5 * dof * (0.5 * self.scatter).log() - torch.lgamma(0.5 * dof)).sum()
            covariance = constant - (0.5 * dof + 1) * log_variance - quadratic
        return location, covariance
