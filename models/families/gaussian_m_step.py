"""The M-step of Gaussian components: means and covariances from sums, without losing them to rounding."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import transform_to

from ..contract import Collapse
from ..kernels.gaussian_parameters import can_compile_parameters, m_step
from ..kernels.gaussian_pass import FAR, shift_sums, squared_lengths
from .gaussian_parameters import GaussianParameters
from .normal_inverse_wishart import ConjugatePrior

ROUNDING = 2e-13  # a thousand eps: how far rounding may take sums of many squares, relative to their size


class GaussianMStep(GaussianParameters):
    """Maximum likelihood, or maximum a posteriori, from the sums of y and S(y) with y = x - origin.

    A covariance is a difference, scatter = sum of y y' - n m m'. If a component is far from its origin, or very thin,
    this difference of large numbers is lost to rounding: the component is `imprecise`. The M-step then moves the origin
    to the component, so that the next pass is exact again.
    """

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """Moments about `origin` to parameters, without a prior."""
        self._set_from_sums(mean.new_ones(self.components), mean, None)

    def maximize(
        self,
        weight: Float[Tensor, " k"],
        total: Float[Tensor, "k s"],
        length: float = 1.0,
        scatter_weight: Float[Tensor, " k"] | None = None,
    ) -> None:
        """M-step: means and covariances from the sums, with the pseudo-rows of the prior added.

        Args:
            weight: Sums of responsibilities, in rows.
            total: Sums of r T(x - origin).
            length: Always 1.
            scatter_weight: What the scatter is divided by, where that is not `weight`.
        """
        self._set_from_sums(weight, total, self.conjugate_prior(), scatter_weight)

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """Sums about the origins before the last M-step, as sums about the present origins."""
        return (
            total if self._origin_shift is None else shift_sums(self.shape, weight, total, self._origin_shift.to(total))
        )

    def _set_from_sums(
        self, weight: Tensor, total: Tensor, prior: ConjugatePrior | None, scatter_weight: Tensor | None = None
    ) -> None:
        shape, k, d = self.shape, self.components, self.features
        if self._origin_shift is not None:
            self._origin_shift = None
        if self._set_compiled(weight, total, prior, weight if scatter_weight is None else scatter_weight):
            return
        first, second = total.split([d, shape.size(d)], -1)
        location_weight, scatter_weight = weight, weight if scatter_weight is None else scatter_weight
        if prior is not None:
            centre = prior.location - self.origin
            location_weight = weight + prior.location_weight
            first = first + prior.location_weight * centre
            second = second + prior.location_weight * shape.product(centre, centre)
        unchanged = location_weight <= 0  # a component without weight keeps its parameters
        offset = torch.where(
            unchanged.unsqueeze(-1), self.loc_from_origin().detach(), first / location_weight.unsqueeze(-1)
        )
        if self.is_frozen("loc"):
            offset = self.loc_from_origin().detach()
            second = second + 2 * shape.product(location_weight.unsqueeze(-1) * offset - first, offset)
        if self.is_frozen(shape.name):
            scale = self.scale_parameter.detach()
            imprecise = self._is_imprecise(scale[None] if self.tied else scale, offset)
            return self._set_locations(offset, imprecise.unsqueeze(-1))
        scatter = second - location_weight.unsqueeze(-1) * shape.product(offset, offset)
        if self.tied:
            scatter = scatter.unflatten(0, (self.copies, -1)).sum(1)
            scatter_weight = scatter_weight.reshape(self.copies, -1).sum(1)
            unchanged = unchanged.reshape(self.copies, -1).all(1)
        if prior is not None:
            scatter = scatter + prior.scatter
            scatter_weight = scatter_weight + prior.scatter_weight(k // self.copies if self.tied else 1)
            unchanged = torch.zeros_like(unchanged)
        covariance = scatter / scatter_weight.unsqueeze(-1)
        if self.variance_floor:
            # the likelihood falls on both sides of its maximum in each variance: the nearest one allowed is the best
            covariance = covariance.clamp(min=self.variance_floor * d / shape.size(d))
        scale, definite = shape.scale(covariance, d)
        blurred = ~(definite | unchanged)  # rounding hides the covariance, or it is singular
        imprecise = (self.per_component(blurred) | self._is_imprecise(scale, offset)).unsqueeze(-1)
        if imprecise.any():
            # Add what rounding may hide (the step still raises the bound) and move the origin to the component: the
            # next pass is then exact. A covariance that stays blurred to the end of a run is a collapse.
            size = (
                shape.product(offset, offset)
                + shape.product(self.unit, self.unit)
                + self.per_component(covariance.abs())
            )
            floor = torch.where(imprecise, ROUNDING * shape.diagonal(size, d), 0.0)
            if self.tied:
                floor = floor.unflatten(0, (self.copies, -1)).amax(1)
            scale, definite = shape.scale(covariance + floor, d)
            if not (definite | unchanged).all():
                raise _collapse(None if self.tied else int((~(definite | unchanged)).nonzero()[0]))
        self.blurred = self.per_component(blurred).contiguous()  # own memory, because `load_state_dict` copies into it
        if self.variance_floor:
            scale = scale.clamp(min=self._scale_floor)  # to the last bit
        if unchanged.any():
            old = self.scale_parameter.detach().reshape_as(scale)
            scale = torch.where(unchanged.reshape((*unchanged.shape, *[1] * shape.scale_dims)), old, scale)
        # set on the unconstrained side: the checks of an assignment would cost more than all the rest
        stored = self.unconstrained(shape.name)
        stored.data = transform_to(self._pyro_params[shape.name][0]).inv(scale.reshape(stored.shape))
        self.names_set.add(shape.name)
        self._set_locations(offset, imprecise)

    def _set_compiled(
        self, weight: Tensor, total: Tensor, prior: ConjugatePrior | None, scatter_weight: Tensor
    ) -> bool:
        """The same in compiled code. Returns False, and changes nothing, where a component is empty or imprecise, a
        parameter is frozen or has a floor, or there are many columns."""
        loc, scale = self.loc_unconstrained, self.unconstrained(self.shape.name)
        plain = loc.requires_grad and scale.requires_grad and not self.variance_floor
        if not plain or not can_compile_parameters(self.origin):
            return False
        shape, d = self.shape, self.features
        extra = total.new_zeros(shape.size(d))
        divisor = scatter_weight.reshape(self.copies, -1).sum(1) if self.tied else scatter_weight
        if prior is not None:
            centre, added = prior.location - self.origin, prior.location_weight
            total = total + added * torch.cat([centre, shape.product(centre, centre)], -1)
            weight, extra = weight + added, extra + prior.scatter
            divisor = divisor + prior.scatter_weight(self.components // self.copies if self.tied else 1)
        found = m_step(shape, self.unit, weight, total, divisor, extra, FAR)
        if found is None:
            return False
        loc.data, scale.data = found[0], found[1].reshape(scale.shape)
        self.names_set.update(("loc", shape.name))
        if self.blurred.any():
            self.blurred = torch.zeros_like(self.blurred)
        return True

    def _set_locations(self, offset: Tensor, imprecise: Tensor) -> None:
        """Set the locations to origin + offset. Where they are `imprecise` (k, 1) the origin moves there."""
        self._origin_shift = torch.where(imprecise, offset, 0.0)
        self.origin = self.origin + self._origin_shift
        self.loc_unconstrained.data = torch.where(imprecise, 0.0, offset) / self.unit
        self.names_set.add("loc")

    def _is_imprecise(self, scale: Tensor, offset: Tensor) -> Tensor:
        """(k,) the components that sums about the present origins do not resolve: those far from their origin, and
        those that have just become too thin for the pass that took the sums."""
        shape, d, unit = self.shape, self.features, torch.diag(self.unit).expand(self.components, -1, -1)
        new = self.per_component(scale)
        columns = squared_lengths(shape, new, torch.cat([unit, offset.unsqueeze(-1)], -1))
        far, thin = columns[:, d] > FAR, columns[:, :d].sum(1) > FAR
        if not thin.any():
            return far
        return far | thin & (squared_lengths(shape, self.scales().detach(), unit).sum(-1) < FAR)


def _collapse(component: int | None) -> Collapse:
    covariance = "the covariance" if component is None else f"the covariance of component {component}"
    return Collapse(f"{covariance} is singular: the rows do not vary in every column", component)
