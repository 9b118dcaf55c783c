"""Student-t components: Gaussians with tails heavy enough for outliers."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from ...data.moments import Moments
from ...data.traced_rows import plain_rows
from ..kernels.gaussian_pass import log_distance
from ..kernels.visit import Summarize, Visit
from .abilities import AllowsFrozen, SideBySide, TakesMissing
from .family import Profile
from .gaussian import Gaussian
from .normal_inverse_wishart import NormalInverseWishart
from .student_t_missing import StudentTMissing
from .student_t_scales import LARGEST_DOF, SMALLEST_DOF, em_dof, far_t_log_prob, newton_dof, scale_sums, t_log_prob

START = 10.0  # degrees of freedom at the start of a fit, where they are estimated


class StudentT(StudentTMissing, AllowsFrozen, TakesMissing, SideBySide):
    """k multivariate t distributions in d dimensions: p(x | z = k) = t(x; dof[k], loc[k], Sigma[k]).

    It is a Gaussian whose covariance is divided by a second latent variable u ~ Gamma(dof / 2, dof / 2), one for each
    row. An outlier is a row with small u, and has a small influence on the estimates.

    Parameters: `loc` and `scale_tril` or `scale`, as in `Gaussian`, and `dof` (k,), which has no unit.

    The E-step takes u to its posterior mean. The M-step divides the scatter by the sum of u instead of the number of
    rows, which raises the bound faster (parameter-expanded EM: Liu, Rubin & Wu, Biometrika 85 (1998), 755-770; Peel &
    McLachlan, Statistics and Computing 10 (2000), 339-348). Degrees of freedom take a Newton step on log p itself. It
    is many times faster than the step of EM, above all where the components are almost Gaussian. If the Newton step
    lowers the bound, the step of EM replaces it.

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        dof: Degrees of freedom that are known: one positive number for all components, or one for each. None
            estimates them.
        covariance: The structure of the scale matrix Sigma, as in `Gaussian`.
        prior: The prior of loc and Sigma, as in `Gaussian`.

    Raises:
        ValueError: An argument has another value than those above.

    Example:
        >>> import torch
        >>> from lowerbound.models import StudentT
        >>> family = StudentT(components=1, features=1, dof=3.0)
        >>> family.loc = torch.tensor([[5.0]])
        >>> family.log_prob(torch.tensor([[5.0], [9.0]]).double()).detach().numpy().round(3)
        array([[-1.001],
               [-4.693]])
    """

    robust_start = is_numeric = True
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
        """k, the number of components."""
        return self.normal.components

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log t(x; dof[k], loc[k], Sigma[k]) in nats, differentiable in the parameters."""
        squared, log_det = self._squared(self.normal.log_prob(x)), self._log_det()
        found = t_log_prob(self.dof, log_det, squared, self.features)
        if plain_rows(squared).isfinite().all():
            return found
        away = log_distance(self.normal.shape, self.normal.scales(), self.normal.centred(x)).T
        return torch.where(squared.isfinite(), found, far_t_log_prob(self.dof, log_det, away, self.features))

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Sums of r u T(x) with T that of `Gaussian`, and the three sums of `scale_sums`, at the present parameters."""
        scaled, own = scale_sums(self.dof, self._squared(self.normal.log_prob(x)), self.features, responsibilities)
        return torch.cat([self.normal.summarize(x, scaled), own], -1)

    def visit(self) -> Visit:
        """The fused pass of the Gaussian, with the sums of u."""
        visit = self.normal.visit()

        def block(x: Tensor) -> tuple[Tensor, Summarize]:
            normal, summarize = visit.block(x)

            def pack(responsibilities: Tensor) -> Tensor:
                scaled, own = scale_sums(self.dof, squared, self.features, responsibilities)
                return torch.cat([summarize(scaled), own], -1)

            with torch.no_grad():
                squared = self._squared(normal)
                return t_log_prob(self.dof, self._log_det(), squared, self.features), pack

        return Visit(block)

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"], length: float = 1.0) -> None:
        """M-step: locations and scales of a Gaussian with rows of weight r u, and the degrees of freedom. These take a
        Newton step, or, if it lowered the bound (length below 1), the step of EM."""
        curvature, scaled, logs = total[:, -3:].unbind(-1)
        frozen = self.normal.is_frozen(self.normal.shape.name)
        expanded = self.normal.prior is None and not self.normal.tied and not frozen
        self.normal.maximize(scaled, total[:, :-3], scatter_weight=scaled if expanded else weight)
        if not self.estimated or self.is_frozen("dof"):
            return
        has_rows, rows, dof = weight > 0, weight.clamp(min=1e-300), self.dof.detach()
        mean, curvature, logs = scaled / rows, curvature / rows, logs / rows
        new = newton_dof(dof, mean, curvature, logs) if length == 1 else em_dof(mean, logs, expanded)
        self.dof = torch.where(has_rows, new.clamp(SMALLEST_DOF, LARGEST_DOF), dof)

    def fixed_location(self) -> Float[Tensor, "k d"] | None:
        """The locations, if they are frozen."""
        return self.normal.fixed_location()

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """The sums of the Gaussian, whose rows count r u; the others do not move."""
        return torch.cat([self.normal.remeasure(total[:, -2], total[:, :-3]), total[:, -3:]], -1)

    def start(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> None:
        """First parameters: those of a Gaussian, and 10 degrees of freedom."""
        self.normal.start(x, responsibilities)
        if self.estimated:
            self.dof = torch.full_like(self.dof, START)

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Measure from `centres`, in the standard deviations of the data."""
        self.normal.set_units(centres, data)

    @property
    def block_rows(self) -> int:
        """How many rows `visit` takes at a time, as for a Gaussian."""
        return self.normal.block_rows

    def outside(self, x: Float[Tensor, "n d"]) -> None:
        """None: all numbers are possible."""

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

    @property
    def has_prior(self) -> bool:
        """Whether there is a prior of locations and scales."""
        return self.normal.has_prior

    def log_prior(self) -> Float[Tensor, "*copies"]:
        """log p(loc, Sigma) under the prior; 0 without one."""
        return self.normal.log_prior()

    def collapsed(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """(k,) the components that are too thin, as in `Gaussian`."""
        return self.normal.collapsed(weights)

    def shrunk(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, "k d"]:
        """(k, d) the columns in which a component has shrunk onto one value, as in `Gaussian`."""
        return self.normal.shrunk(weights)

    def dependent_columns(self, component: int) -> list[int]:
        """As in `Gaussian`."""
        return self.normal.dependent_columns(component)

    def thinness(self, weights: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """(k,) the smallest eigenvalue of each scale matrix, as in `Gaussian`."""
        return self.normal.thinness(weights)

    @property
    def least_rows(self) -> int:
        """As in `Gaussian`."""
        return self.normal.least_rows

    def _factor(self) -> Tensor:
        """The Cholesky factor of each scale matrix (k, d, d)."""
        scales = self.normal.scales()
        k, d = self.components, self.features
        if self.normal.shape.scale_dims == 2:
            return scales
        return torch.diag_embed(scales.reshape(k, -1).expand(k, d))

    def _squared(self, normal: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """Squared Mahalanobis distances, from the Gaussian log densities."""
        return (-2 * normal - self.features * math.log(2 * math.pi) - self._log_det()).clamp(min=0)

    def _log_det(self) -> Float[Tensor, " k"]:
        """log |Sigma| of each component."""
        return self.normal.shape.log_det(self.normal.scales(), self.features)
