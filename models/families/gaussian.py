"""Gaussian components with six covariance structures."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints, transform_to

from ...data.moments import Moments
from ...data.threads import threads_for
from ..contract import Collapse
from ..data_units import Located, ScaledCholesky
from ..kernels.covariance_shapes import SHAPES
from ..kernels.fused_pass import FAR, FusedPass, log_density, moments, shift, squared_sizes
from ..kernels.gaussian_conditional import Given
from ..kernels.visit import Summarize, Visit
from ..module import require_size
from .abilities import AllowsFrozen, HasExpectedLogProb, SideBySide, TakesMissing
from .normal_inverse_wishart import ConjugatePrior, NormalInverseWishart, hyperparameters, weak

ROUNDING = 2e-13  # a thousand eps: how far rounding may take sums of many squares, relative to their size
SUMMED = 1 << 18  # cells times members whose centred values are held at a time
BLOCK_CELLS = 1 << 19  # held of a block for each thread: 4 MiB
BLOCK_ROWS = 1 << 15
COLLAPSED = 1e-10  # smallest eigenvalue of a covariance relative to the average component's


class Gaussian(AllowsFrozen, TakesMissing, SideBySide, HasExpectedLogProb):
    """k Gaussians in d dimensions: x | z = k ~ N(loc[k], Sigma[k]).

    covariance: "full", "diag" or "spherical" for each component's own, "tied", "tied-diag" or "tied-spherical" for one
    shared by all. Parameters: `loc` (k, d), and `scale_tril` (k, d, d) (tied: (d, d)), or `scale`: standard deviations
    (k, d) (tied-diag: (d,)) or (k,) (tied-spherical: ()).
    prior: None for maximum likelihood, "weak" (Fraley & Raftery 2007, from the data) or a `NormalInverseWishart`.
    variance_floor: the least variance, in squared units of the data, of the structures without correlations: maximum
    likelihood under that constraint, as a `GaussianDecoder` has it, where a column may be constant in a component.
    """

    location_parameter = "loc"
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
        self._d = d
        self._moved: Tensor | None = None  # how far the last M-step moved the origins
        # statistics and parameters are measured from `origin` (one for each component) in `unit` (one for each column)
        self.register_buffer("origin", torch.zeros(k, d, dtype=torch.float64))
        self.register_buffer("unit", torch.ones(d, dtype=torch.float64))
        # whose covariance the last M-step could not resolve
        self.register_buffer("blurred", torch.zeros(k, dtype=torch.bool))
        self.loc = PyroParam(torch.zeros(k, d, dtype=torch.float64), Located(self))  # type: ignore[assignment]
        lead = () if self.tied else (k,)
        if self.shape.scale_dims == 2:
            eye = torch.eye(d, dtype=torch.float64).expand(*lead, d, d).clone()
            self.scale_tril = PyroParam(eye, ScaledCholesky(self))
        else:
            ones = torch.ones((*lead, *[d] * self.shape.scale_dims), dtype=torch.float64)
            self._least = math.sqrt(variance_floor)
            least = constraints.greater_than(self._least) if variance_floor else constraints.positive
            self.scale = PyroParam(ones + self._least, least)
        self.shared = frozenset({"unit", "prior_location", "prior_location_weight", "prior_dof", "prior_scatter"})
        if self.tied:
            self.shared |= {self.shape.name}
        if prior is not None:
            known = prior if isinstance(prior, NormalInverseWishart) else None
            self._store_prior(known)

    # the three methods of a family

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): N(loc[z], Sigma[z])."""
        scale = getattr(self, self.shape.name) if self.tied and self.copies == 1 else self.scales()[z]
        return self.shape.distribution(self.loc[z], scale)

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """T(y) = (y, S(y)): the row, and its products y_i y_j for i <= j, its squares or its squared length."""
        return torch.cat([x.T, self.shape.products(x.T)]).T

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """Moments about `origin` to parameters, without a prior."""
        self._solve(mean.new_ones(self._k), mean, None)

    # hooks

    @property
    def components(self) -> int:
        """k, the number of members."""
        return self.origin.shape[0]

    @property
    def features(self) -> int:
        """d, the number of columns of x."""
        return self._d

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log N(x; loc[k], Sigma[k]) in nats, differentiable in the parameters."""
        y = x.T - self.origin.unsqueeze(-1) - self._offset().unsqueeze(-1)  # (k, d, n)
        return log_density(self.shape, self.scales(), y).T

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Sums of T(x - origin[k]) over rows, each row shared out by its responsibilities."""
        size = max(1, SUMMED // x.numel()) if len(x) else self._k  # members at a time
        pairs = zip(self.origin.split(size), responsibilities.T.split(size), strict=True)
        return torch.cat([moments(self.shape, x.T - origin.unsqueeze(-1), r) for origin, r in pairs])

    def visit(self) -> Visit:
        """The fused pass: one matrix product for all log densities, one for all sums."""
        return self.visit_in(torch.float64)

    def visit_in(self, dtype: torch.dtype) -> Visit:
        """The same in another precision, where that has the digits for all components."""
        with torch.no_grad(), threads_for(self._k * self._d**2):
            tied = self._k // self.copies if self.tied else 0
            measured = self.shape, self.origin, self._offset(), self.unit, self.scales(), tied
            own = FusedPass(*measured, dtype)
            if own.far and dtype != torch.float64:
                own = FusedPass(*measured)
            return Visit(own, compiled=None if own.far else own.linear)

    def given(self, x: Float[Tensor, "n d"]) -> Given:
        """The members given the seen cells of rows, NaN where missing; measured from their means."""
        y = x.unsqueeze(-2) - self.origin - self._offset()
        return Given(self.shape, self.scales(), y)

    def visit_missing(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Summarize]:
        """log N(seen cells; loc[k], Sigma[k]), and the sums of E[T(x - origin[k]) | seen cells, z = k]: missing cells
        at their conditional means, and their conditional covariances."""
        given, offset = self.given(x), self._offset().detach()
        return given.log_prob, lambda r: given.sums(offset, r, r)

    def moments_given(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k d"]]:
        """Mean and variance of each cell given the seen cells of its row and z = k."""
        given = self.given(x)
        return torch.where(x.isnan().unsqueeze(1), given.mean + self.loc, x.unsqueeze(1)), given.variance

    def draw_missing(
        self, x: Float[Tensor, "n d"], z: Int[Tensor, " n"], widths: Float[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Missing cells drawn given the seen ones: their conditional mean, and what a whole row that is drawn has
        beyond the conditional mean given its own seen cells (Matheron's rule), `widths` times as much."""
        row = torch.arange(len(x), device=x.device)
        drawn = self.component(z).sample()
        beyond = drawn - self.moments_given(torch.where(x.isnan(), torch.nan, drawn))[0][row, z]
        if widths is not None:
            beyond = beyond * widths.unsqueeze(-1)
        return torch.where(x.isnan(), self.moments_given(x)[0][row, z] + beyond, x)

    def maximize(
        self,
        weight: Float[Tensor, " k"],
        total: Float[Tensor, "k s"],
        length: float = 1.0,
        scatter_weight: Float[Tensor, " k"] | None = None,
    ) -> None:
        """M-step: means and covariances from the sums, the prior's pseudo-rows added if there is one. scatter_weight:
        what the scatter is divided by, where that is not `weight`."""
        self._solve(weight, total, self._conjugate(), scatter_weight)

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """Sums about the origins of before the last M-step to sums about those of now."""
        return total if self._moved is None else shift(self.shape, weight, total, self._moved.to(total))

    @property
    def block_rows(self) -> int:
        """How many rows a pass takes at a time where it is not compiled: what it makes of them stays in cache."""
        cells = BLOCK_CELLS * torch.get_num_threads()
        return max(512, min(BLOCK_ROWS, cells // (self._d + self.shape.size(self._d) + 2 * self._k)))

    def outside(self, x: Float[Tensor, "n d"]) -> None:
        """Nothing: all numbers are possible."""

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Measure from `centres` (k, d) (None: where the components are), in the standard deviations of the data."""
        loc, scale = self.loc.detach(), getattr(self, self.shape.name).detach()
        deviation = data.covariance.diagonal().sqrt()
        constant = deviation <= 16 * torch.finfo(deviation.dtype).eps * data.mean.abs()
        kept = (
            self.variance_floor > 0 or isinstance(self.prior, NormalInverseWishart) or self.is_frozen(self.shape.name)
        )
        if constant.any() and self.shape.scale_dims > 0 and not kept:
            column = int(constant.nonzero()[0])
            raise ValueError(
                f"column {column} has the same value in every row, but for rounding, expected some variance: drop the "
                "column (or subtract its mean, if that is far beyond what it varies by), or give a "
                'NormalInverseWishart prior, or covariance="spherical", or, of a GaussianMixture, "diag" with a '
                "variance_floor"
            )
        self.unit = torch.where(constant, torch.ones_like(deviation) * (math.sqrt(self.variance_floor) or 1), deviation)
        self.origin = (loc if centres is None or self.is_frozen("loc") else centres).clone()
        names_set = set(self.names_set)
        self.loc = loc
        setattr(self, self.shape.name, scale)
        self.names_set = names_set  # measured anew, not set
        self.blurred = torch.zeros_like(self.blurred)
        if self.prior == "weak":
            self._store_prior(weak(self.shape, self._k // self.copies, data))

    def moments(self) -> Moments:
        """Mean (k, d) and covariance (k, d, d) of each component."""
        return Moments(self.loc.detach(), self.shape.matrix(self.scales().detach(), self._d))

    def expected_log_prob(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, " k"]:
        """-(weight (d log 2 pi + log |Sigma|) + tr(inv(Sigma) scatter about loc)) / 2 of each member."""
        shape, d, offset = self.shape, self._d, self._offset()
        first, second = total.split([d, shape.size(d)], -1)
        scatter = second - 2 * shape.product(first, offset) + weight.unsqueeze(-1) * shape.product(offset, offset)
        log_det = d * math.log(2 * math.pi) + shape.log_det(self.scales(), d)
        return -0.5 * (weight * log_det + shape.trace(self.scales(), scatter, d))

    def log_prior(self) -> Float[Tensor, "*copies"]:
        """log p(loc, covariances) under the prior: 0 without one."""
        prior = self._conjugate()
        if prior is None:
            return super().log_prior()
        location, covariance = prior.log_prob(self.loc, self.scales(), getattr(self, self.shape.name))
        return self.sum_per_copy(location) + self.sum_per_copy(covariance)

    def collapsed(self, weights: Float[Tensor, " k"]) -> Tensor:
        """Which components are too thin: smallest eigenvalue below 1e-10 when whitened by the average component, or
        singular to rounding. (The average component rather than the data: well separated clusters are thin beside the
        distance between them.)"""
        if self.tied or self.is_frozen(self.shape.name):
            return self.blurred
        scales = self.scales().detach()
        covariance = self.shape.covariance(scales, self._d).unflatten(0, (self.copies, -1))
        average = (weights.reshape(self.copies, 1, -1) @ covariance).expand_as(covariance).flatten(0, 1)
        return self.blurred | ~(self.shape.relative(scales, average, self._d) > COLLAPSED)

    def scales(self) -> Tensor:
        """The scale of each of the k components, tied or not."""
        scale = getattr(self, self.shape.name)
        return (
            self._each(scale.reshape(self.copies, *scale.shape[scale.ndim - self.shape.scale_dims :]))
            if self.tied
            else scale
        )

    # inside

    @property
    def _k(self) -> int:
        return self.components

    def _each(self, value: Tensor) -> Tensor:
        """What belongs to each scale, (scales, ...), for each of the k components."""
        if not self.tied:
            return value
        return value.unsqueeze(1).expand(-1, self._k // self.copies, *value.shape[1:]).flatten(0, 1)

    def _offset(self) -> Tensor:
        """loc - origin, without the rounding that a far origin would bring in."""
        return self.unit * self.loc_unconstrained

    def _solve(
        self, weight: Tensor, total: Tensor, prior: ConjugatePrior | None, scatter_weight: Tensor | None = None
    ) -> None:
        shape, k, d = self.shape, self._k, self._d
        self._moved = None
        first, second = total.split([d, shape.size(d)], -1)
        location_weight, scatter_weight = weight, weight if scatter_weight is None else scatter_weight
        if prior is not None:
            centre = prior.location - self.origin
            location_weight = weight + prior.location_weight
            first = first + prior.location_weight * centre
            second = second + prior.location_weight * shape.product(centre, centre)
        kept = location_weight <= 0  # a component without weight keeps its parameters
        offset = torch.where(kept.unsqueeze(-1), self._offset().detach(), first / location_weight.unsqueeze(-1))
        if self.is_frozen("loc"):
            offset = self._offset().detach()
            second = second + 2 * shape.product(location_weight.unsqueeze(-1) * offset - first, offset)
        if self.is_frozen(shape.name):
            scale = getattr(self, shape.name).detach()
            return self._place(offset, self._is_hidden(scale[None] if self.tied else scale, offset).unsqueeze(-1))
        scatter = second - location_weight.unsqueeze(-1) * shape.product(offset, offset)
        if self.tied:
            scatter = scatter.unflatten(0, (self.copies, -1)).sum(1)
            scatter_weight = scatter_weight.reshape(self.copies, -1).sum(1)
            kept = kept.reshape(self.copies, -1).all(1)
        if prior is not None:
            scatter = scatter + prior.scatter
            scatter_weight = scatter_weight + prior.scatter_weight(k // self.copies if self.tied else 1)
            kept = torch.zeros_like(kept)
        covariance = scatter / scatter_weight.unsqueeze(-1)
        if self.variance_floor:
            # the likelihood falls on both sides of its top in each variance: the nearest one allowed is the best
            covariance = covariance.clamp(min=self.variance_floor * d / shape.size(d))
        scale, definite = shape.scale(covariance, d)
        blurred = ~(definite | kept)  # rounding hides the covariance, or there is none to see
        hidden = (self._each(blurred) | self._is_hidden(scale, offset)).unsqueeze(-1)
        if hidden.any():
            # Add what rounding hides (the step still raises the bound) and move the origin to the component, so that
            # the next pass sees it sharply. A covariance that stays blurred to the end of a run is a collapse.
            seen = shape.product(offset, offset) + shape.product(self.unit, self.unit) + self._each(covariance.abs())
            floor = torch.where(hidden, ROUNDING * shape.diagonal(seen, d), 0.0)
            if self.tied:
                floor = floor.unflatten(0, (self.copies, -1)).amax(1)
            scale, definite = shape.scale(covariance + floor, d)
            if not (definite | kept).all():
                raise self._collapse(None if self.tied else int((~(definite | kept)).nonzero()[0]))
        self.blurred = self._each(blurred).contiguous()  # its own memory: a state is put back into it
        if self.variance_floor:
            scale = scale.clamp(min=self._least)  # to the last bit
        if kept.any():
            old = getattr(self, shape.name).detach().reshape_as(scale)
            scale = torch.where(kept.reshape((*kept.shape, *[1] * shape.scale_dims)), old, scale)
        # as they are inside: checks and maps to and fro would cost more calls than all the rest
        stored = getattr(self, f"{shape.name}_unconstrained")
        stored.data = transform_to(self._pyro_params[shape.name][0]).inv(scale.reshape(stored.shape))
        self.names_set.add(shape.name)
        self._place(offset, hidden)

    def _place(self, offset: Tensor, hidden: Tensor) -> None:
        """Set the locations, measured from themselves where they are `hidden` (k, 1)."""
        self._moved = torch.where(hidden, offset, 0.0)
        self.origin = self.origin + self._moved
        self.loc_unconstrained.data = torch.where(hidden, 0.0, offset) / self.unit
        self.names_set.add("loc")

    def _is_hidden(self, scale: Tensor, offset: Tensor) -> Tensor:
        """(k,) which components the last sums show blurred: those far from their origin, and those that have become
        too thin for the raw moments they were still thick enough for when the sums were taken."""
        shape, d, unit = self.shape, self._d, torch.diag(self.unit).expand(self._k, -1, -1)
        new = self._each(scale)
        columns = squared_sizes(shape, new, torch.cat([unit, offset.unsqueeze(-1)], -1))
        far, thin = columns[:, d] > FAR, columns[:, :d].sum(1) > FAR
        if not thin.any():
            return far
        return far | thin & (squared_sizes(shape, self.scales().detach(), unit).sum(-1) < FAR)

    def _collapse(self, component: int | None) -> Collapse:
        who = "the covariance" if component is None else f"the covariance of component {component}"
        return Collapse(f"{who} is singular: the rows do not vary in every column", component)

    def _store_prior(self, prior: NormalInverseWishart | None) -> None:
        for name, value in hyperparameters(prior, self.shape, self._d).items():
            self.register_buffer(f"prior_{name}", value)

    def _conjugate(self) -> ConjugatePrior | None:
        if self.prior is None:
            return None
        if torch.isnan(self.prior_dof):
            raise ValueError('prior="weak" takes its scale from data, which this model has not seen: fit or seed it')
        return ConjugatePrior(
            self.shape, self.prior_location, self.prior_location_weight, self.prior_dof, self.prior_scatter
        )
