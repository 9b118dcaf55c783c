"""The parameters of Gaussian components: locations and scales, the units they are measured in, and their prior."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints

from ...data.moments import Moments
from ..kernels.covariance_shapes import SHAPES
from ..module import require_size
from ..parameter_units import Located, ScaledCholesky
from .family import Family
from .normal_inverse_wishart import ConjugatePrior, NormalInverseWishart, hyperparameters, weak_prior


class GaussianParameters(Family):
    """`loc` and `scale_tril` or `scale` of k Gaussians in d dimensions.

    Sums and locations are measured from `origin` (k, d), one for each component, in `unit` (d,), one for each column.
    A component far from zero then keeps all its digits. `blurred` (k,) says for which components rounding hid the
    covariance in the last M-step.
    """

    location_parameter = "loc"
    also_set = ("covariance",)
    is_numeric = True
    origin: Tensor
    unit: Tensor
    blurred: Tensor
    loc: Tensor
    loc_unconstrained: Tensor
    prior_location: Tensor
    prior_location_weight: Tensor
    prior_dof: Tensor
    prior_scatter: Tensor

    def __init__(
        self,
        components: int,
        features: int,
        covariance: str = "full",
        prior: str | NormalInverseWishart | None = None,
        variance_floor: float = 0.0,
    ):
        super().__init__()
        require_size(components=components, features=features)
        if covariance not in SHAPES:
            raise ValueError(f"covariance is {covariance!r}, expected one of {', '.join(map(repr, SHAPES))}")
        if not (prior is None or prior == "weak" or isinstance(prior, NormalInverseWishart)):
            raise ValueError(f"prior is {prior!r}, expected None, 'weak' or a NormalInverseWishart")
        self.covariance = covariance
        self.shape, self.tied = SHAPES[covariance]
        if not 0 <= variance_floor < float("inf"):
            raise ValueError(
                f"variance_floor is {variance_floor!r}, expected a variance of at least 0, in squared units of the data"
            )
        if variance_floor and self.shape.scale_dims == 2:
            raise ValueError(
                f'variance_floor is for covariances without correlations, such as "diag", not for {covariance!r}: '
                "give it a NormalInverseWishart prior instead"
            )
        self.prior = prior
        self.variance_floor = float(variance_floor)
        k, d = components, features
        self._features = d
        self._origin_shift: Tensor | None = None  # how far the last M-step moved the origins
        self.register_buffer("origin", torch.zeros(k, d, dtype=torch.float64))
        self.register_buffer("unit", torch.ones(d, dtype=torch.float64))
        self.register_buffer("blurred", torch.zeros(k, dtype=torch.bool))
        self.loc = PyroParam(torch.zeros(k, d, dtype=torch.float64), Located(self))  # type: ignore[assignment]
        lead = () if self.tied else (k,)
        if self.shape.scale_dims == 2:
            eye = torch.eye(d, dtype=torch.float64).expand(*lead, d, d).clone()
            self.scale_tril = PyroParam(eye, ScaledCholesky(self))
        else:
            ones = torch.ones((*lead, *[d] * self.shape.scale_dims), dtype=torch.float64)
            self._scale_floor = math.sqrt(variance_floor)
            allowed = constraints.greater_than(self._scale_floor) if variance_floor else constraints.positive
            self.scale = PyroParam(ones + self._scale_floor, allowed)
        self.shared = frozenset({"unit", "prior_location", "prior_location_weight", "prior_dof", "prior_scatter"})
        if self.tied:
            self.shared |= {self.shape.name}
        if prior is not None:
            known = prior if isinstance(prior, NormalInverseWishart) else None
            self.store_prior(known)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "covariance" and not isinstance(value, str):  # a word is the structure, given to the constructor
            name, value = self.shape.name, self._scale_of(torch.as_tensor(value, dtype=torch.float64).detach())
        super().__setattr__(name, value)

    def _scale_of(self, covariance: Tensor) -> Tensor:
        """`scale_tril` of covariances (k, d, d), or `scale` of variances in its shape."""
        wanted = tuple(self.scale_parameter.shape)
        if covariance.shape != wanted:
            raise ValueError(f"covariance got shape {tuple(covariance.shape)}, expected {wanted}")
        if self.shape.scale_dims < 2:
            valid, scale = covariance > 0, covariance.clamp(min=0).sqrt()
        else:
            scale, failed = torch.linalg.cholesky_ex(covariance)
            valid = (failed == 0) & torch.isclose(covariance, covariance.mT, rtol=1e-6, atol=0).all((-2, -1))
        if not (valid.all() and scale.isfinite().all()):
            kind = "positive variances" if self.shape.scale_dims < 2 else "symmetric positive definite matrices"
            raise ValueError(f"covariance got {covariance.tolist()}, expected {kind}")
        return scale

    def read_also(self, name: str) -> Tensor:
        """The covariances as they are set: (k, d, d), or variances in the shape of `scale`."""
        scale = self.scale_parameter
        return scale @ scale.mT if self.shape.scale_dims == 2 else scale**2

    @property
    def components(self) -> int:
        """k, the number of components."""
        return self.origin.shape[0]

    @property
    def features(self) -> int:
        """d, the number of columns of x."""
        return self._features

    @property
    def scale_parameter(self) -> Tensor:
        """The parameter `scale_tril` or `scale`, whichever this covariance structure has."""
        return self.value(self.shape.name)

    def scales(self) -> Tensor:
        """The scale of each of the k components, also where they share one."""
        scale = self.scale_parameter
        return (
            self.per_component(scale.reshape(self.copies, *scale.shape[scale.ndim - self.shape.scale_dims :]))
            if self.tied
            else scale
        )

    def per_component(self, value: Tensor) -> Tensor:
        """What belongs to each scale (scales, ...), repeated for each of the k components that share it."""
        if not self.tied:
            return value
        return value.unsqueeze(1).expand(-1, self.components // self.copies, *value.shape[1:]).flatten(0, 1)

    def loc_from_origin(self) -> Float[Tensor, "k d"]:
        """loc - origin, without the rounding that subtracting a far origin would bring in."""
        return self.unit * self.loc_unconstrained

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Measure from `centres`, in the standard deviations of the columns. Raises ValueError for a constant column
        whose variance would be estimated as 0."""
        loc, scale = self.loc.detach(), self.scale_parameter.detach()
        deviation = data.covariance.diagonal().sqrt()
        constant = deviation <= 16 * torch.finfo(deviation.dtype).eps * data.mean.abs()
        allowed = (
            self.variance_floor > 0 or isinstance(self.prior, NormalInverseWishart) or self.is_frozen(self.shape.name)
        )
        if constant.any() and self.shape.scale_dims > 0 and not allowed:
            column = data.column(int(constant.nonzero()[0]))
            raise ValueError(
                f"{column} has the same value in every row, up to rounding, expected some variance: drop the "
                "column (or subtract its mean, if the mean is far larger than the variation), or give a "
                'NormalInverseWishart prior, or covariance="spherical", or, for a GaussianMixture, "diag" with a '
                "variance_floor"
            )
        self.unit = torch.where(constant, torch.ones_like(deviation) * (math.sqrt(self.variance_floor) or 1), deviation)
        self.origin = (loc if centres is None or self.is_frozen("loc") else centres).clone()
        names_set = set(self.names_set)
        self.loc = loc
        setattr(self, self.shape.name, scale)
        self.names_set = names_set  # the values are the same as before: no parameter was set
        self.blurred = torch.zeros_like(self.blurred)
        if self.prior == "weak":
            self.store_prior(weak_prior(self.shape, self.components // self.copies, data))

    def store_prior(self, prior: NormalInverseWishart | None) -> None:
        """Keep the hyperparameters of a prior as buffers; NaN where it is not known yet (None)."""
        for name, value in hyperparameters(prior, self.shape, self.features).items():
            self.register_buffer(f"prior_{name}", value)

    def conjugate_prior(self) -> ConjugatePrior | None:
        """The prior, or None without one. Raises ValueError if a weak prior has not seen data yet."""
        if self.prior is None:
            return None
        if torch.isnan(self.prior_dof):
            raise ValueError('prior="weak" takes its scale from data, which this model has not seen: fit or seed it')
        return ConjugatePrior(
            self.shape, self.prior_location, self.prior_location_weight, self.prior_dof, self.prior_scatter
        )

    @property
    def has_prior(self) -> bool:
        """Whether there is a prior of means and covariances."""
        return self.prior is not None

    def log_prior(self) -> Float[Tensor, "*copies"]:
        """log p(loc, covariances) under the prior; 0 without one."""
        prior = self.conjugate_prior()
        if prior is None:
            return super().log_prior()
        location, covariance = prior.log_prob(self.loc, self.scales(), self.scale_parameter)
        return self.sum_per_copy(location) + self.sum_per_copy(covariance)
