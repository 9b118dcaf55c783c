"""First parameters for any distribution: candidates from means and variances, then steps of scoring."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...data.moments import Moments
from .distribution_parameters import parameter_constraint
from .initial_values import best_initial_values
from .scoring_step import ScoringStep


class ScoringStart(ScoringStep):
    """The start of a fit, and the units of real parameters that it learns."""

    def start(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> None:
        """First parameters: the best candidates from means and variances, then steps of scoring on these rows.

        One component is fitted to all rows first. Real parameters are then measured from its parameters, in units of
        the information of one row. It is also the centre of the weak prior.
        """
        prior, self.prior = self.prior, None
        frozen = {name: self.value(name).detach().clone() for name in self.names if self.is_frozen(name)}
        equal = responsibilities.mean(1, keepdim=True).expand_as(responsibilities)
        for name in filter(self.is_measured, self.names):
            setattr(self, f"{name}_origin", torch.zeros_like(self.get_buffer(f"{name}_origin")))
            setattr(self, f"{name}_unit", torch.ones_like(self.get_buffer(f"{name}_unit")))
        if "unit" in self._buffers:
            share = responsibilities.sum(1) / responsibilities.sum()
            spread = (share @ x**2 - (share @ x) ** 2).clamp(min=0).sqrt()
            self.unit = torch.where(spread > 0, spread, 1.0)
        self._set_best_candidates(x, equal, frozen)
        self._learn_units(x, equal)
        self._climb(x, equal)
        self.prior = prior
        if prior == "weak":
            self.weak_centre = self.free_blocks()[0].clone()
        self._set_best_candidates(x, responsibilities, frozen)
        self._climb(x, responsibilities)

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """If the parameters were set by hand, their average is the centre of the weak prior. Raises ValueError for a
        constant column whose width would be estimated as 0."""
        deviation = data.covariance.diagonal().sqrt()
        constant = deviation <= 16 * torch.finfo(deviation.dtype).eps * data.mean.abs()
        if constant.any() and self.prior is None and self._has_density_of_any_width():
            raise ValueError(
                f"column {int(constant.nonzero()[0])} has the same value in every row, up to rounding, expected some "
                f"variance: the density of a {self.distribution.__name__} there has no upper bound: drop the column, "
                "or give a prior"
            )
        if self.prior == "weak" and torch.isnan(self.weak_centre).any():
            self.weak_centre = self.free_blocks().mean(0)

    def _has_density_of_any_width(self) -> bool:
        """Whether some parameters move and others shrink a density onto one value, as those of a Normal or a Beta."""
        component: Any = self.component()
        free = [name for name in self.names if not self.is_frozen(name)]
        return len(free) > 1 and not component.support.is_discrete

    def _set_best_candidates(self, x: Tensor, responsibilities: Tensor, frozen: Mapping[str, Tensor]) -> None:
        """Set the parameters that are not frozen to the best candidates."""
        kinds = {name: parameter_constraint(self.distribution, name) for name in self.names}
        shapes = {name: tuple(self.value(name).shape) for name in self.names}
        make = partial(self.distribution, **self.fixed, validate_args=False)  # type: ignore[reportCallIssue]
        for name, value in best_initial_values(make, kinds, shapes, x, responsibilities, frozen).items():
            setattr(self, name, value)

    def _climb(self, x: Tensor, responsibilities: Tensor, steps: int = 30) -> None:
        """Steps of scoring on these rows, each shortened until no component has a lower likelihood than before."""
        weight, best = responsibilities.sum(0), self._log_likelihood(x, responsibilities)
        for _ in range(steps):
            before, total, length = self.free_blocks(), self.summarize(x, responsibilities), 1.0
            while True:
                self.maximize(weight, total, length)
                value = self._log_likelihood(x, responsibilities)
                worse = value < best
                if not worse.any() or length < 1e-3:
                    break
                self.set_free_blocks(before)
                length /= 4
            self.set_free_blocks(torch.where(worse[:, None, None], before, self.free_blocks()))
            gain, best = (value - best).max(), torch.maximum(value, best)
            if gain < 1e-6 * weight.sum():
                break

    def _log_likelihood(self, x: Tensor, responsibilities: Tensor) -> Float[Tensor, " k"]:
        """The expected log-likelihood of each component."""
        log_prob = torch.where(responsibilities > 0, self.log_prob(x).detach(), 0.0)
        return (responsibilities * log_prob).sum(0).nan_to_num(nan=-torch.inf)

    def _learn_units(self, x: Tensor, responsibilities: Tensor) -> None:
        """Measure real parameters from their present values, in units of 1 / sqrt(information of one row)."""
        k, b, q = self.free_blocks().shape
        information = self.summarize(x, responsibilities)[:, b * q :].reshape(k, b, q, q).diagonal(dim1=-2, dim2=-1)
        unit = (responsibilities.sum(0)[:, None, None] / information.clamp(min=1e-300)).sqrt()
        flat, start = unit.flatten(1), 0
        for i, name in enumerate(self.names):
            own = self.value(name).detach().clone()
            size = own[0].numel()
            of_parameter = flat[:, start : start + size].reshape(own.shape) if self.is_joint else unit[..., i]
            start += size
            if self.is_measured(name):
                setattr(self, f"{name}_origin", own)
                setattr(self, f"{name}_unit", torch.where(torch.isfinite(of_parameter), of_parameter, 1.0))
                setattr(self, name, own)
