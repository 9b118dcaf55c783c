"""Standard errors of the parameters of a fit, from the observed information."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...data.rows import as_rows
from ...models import LatentModel, Rows, SupportsPosterior
from ..engines.data_bound import EVALUATION_ROWS
from ..fitting.fit_result import Fit
from .observed_information import Parameter, coordinates, independent, parameters_of, slope_and_curvature, values_of

MOST = 2000  # coordinates: their matrix has the square of it, and its inverse takes the cube
LEAST = 0.01  # information at which a coordinate, in log odds, logarithms or spreads of the data, has an error of 10
SINGULAR = 1e-8  # smallest eigenvalue of the information, its diagonal scaled to 1
ARRIVED = 0.01  # squared distance from the top, in standard errors, or twice the nats left to gain

Of = Mapping[str, Callable[[Any], Tensor]] | None


@dataclass(frozen=True)
class StandardErrors:
    """Estimates and their standard errors, by the names a user types: weights, family.loc, ...

    estimates, errors: of the same shapes. An error is NaN where the estimate is at the boundary of its range, such as a
    probability of 0, or the rows say nothing of it: no normal distribution is near, and the other errors are those
    given that it stays there. It is 0 for what is constant, such as entries above the diagonal of a Cholesky factor.
    """

    estimates: dict[str, Tensor]
    errors: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        """The standard errors of a parameter."""
        return self.errors[name]

    def frame(self, level: float = 0.95) -> pd.DataFrame:
        """One row for each number that is not constant: estimate, standard_error, and the ends, lower and upper, of the
        interval that covers it with probability `level` where the estimate is normal; it may leave a range such as
        (0, 1)."""
        require_level(level)
        z = NormalDist().inv_cdf((1 + level) / 2)
        parts = {
            name: (value, self.errors[name], value - z * self.errors[name], value + z * self.errors[name])
            for name, value in self.estimates.items()
        }
        return numbers(parts, {name: error != 0 for name, error in self.errors.items()})

    def __str__(self) -> str:
        return self.frame().to_string(float_format="{:.5g}".format)

    __repr__ = __str__


def standard_errors(fit: Fit, x: Any, weights: Any = None, labels: Any = None, of: Of = None) -> StandardErrors:
    """Square roots of the diagonal of J I^-1 J', with I the observed information, minus the Hessian of the total
    log-likelihood (plus log prior) in the unconstrained parameters, and J the derivatives of the parameters in them.

    x, weights, labels: the rows of the fit; a row of weight 2 counts as two. of: other functions of the model, by name,
    such as {"covariance": lambda m: m.family.scale_tril @ m.family.scale_tril.mT}, whose errors are found in the same
    way (the delta method). Frozen parameters are taken as known. McLachlan & Peel, Finite Mixture Models (2000), 2.15.

    Raises ValueError if the fit is not at a maximum, or at one that is not unique (parameters that are not identified,
    such as a loading up to rotation), or for more than 2000 parameters; TypeError for a bound that is not log p(x).
    """
    model = fit.model
    require_estimates(model)
    rows = as_rows(x, weights, labels, model)
    parameters = parameters_of(model)
    tensors = [parameter.unconstrained for parameter in parameters]
    size = sum(tensor.numel() for tensor in tensors)
    if not 0 < size <= MOST:
        cure = ": use bootstrap" if size else ", or there is nothing to be unsure of: thaw some"
        raise ValueError(f"the model has {size} parameters that are not frozen, expected 1 to {MOST}{cure}")
    _require_evidence(model, rows)
    gradient, hessian = slope_and_curvature(model, rows, parameters)
    moving = torch.cat([parameter.moves()[1] for parameter in parameters])
    infinite = ~torch.cat([torch.isfinite(t.detach()).flatten() for t in tensors])
    held = moving & (infinite | (hessian.diagonal().abs() < LEAST))
    _require_identified(model, parameters)
    directions = independent(parameters, held)
    covariance = directions @ _inverse(-directions.T @ hessian @ directions, directions, gradient, parameters)
    covariance = covariance @ directions.T
    with torch.enable_grad():
        values = values_of(model, of)
        for name in of or ():
            if not values[name].requires_grad:
                raise ValueError(
                    f"{name} has no gradient in the parameters that are not frozen, expected a function of them by "
                    "torch operations, without detach(), numpy or no_grad: else use bootstrap(fit, x, of=...)"
                )
        errors = {name: _error(value, tensors, covariance).reshape(value.shape) for name, value in values.items()}
    for parameter, own in zip(parameters, held.split([t.numel() for t in tensors]), strict=True):
        error = errors[parameter.name]
        same = error.numel() == len(own)  # else one cannot say which values a coordinate belongs to
        errors[parameter.name] = torch.where(own.reshape(error.shape) if same else own.any(), torch.nan, error)
    return StandardErrors({name: value.detach() for name, value in values.items()}, errors)


def numbers(parts: dict[str, tuple[Tensor, ...]], kept: dict[str, Bool[Tensor, "..."]]) -> pd.DataFrame:
    """A table of estimate, standard_error, lower and upper, one row for each number that is kept."""
    names, cells = [], []
    for name, columns in parts.items():
        for place in np.ndindex(*columns[0].shape):
            if kept[name][place]:
                names.append(f"{name}[{', '.join(map(str, place))}]" if place else name)
                cells.append([float(column[place]) for column in columns])
    header = ["estimate", "standard_error", "lower", "upper"]
    return pd.DataFrame(cells, index=pd.Index(names, name="parameter"), columns=header)


def require_estimates(model: Any) -> None:
    """Raise TypeError for a model with a posterior over its parameters, which has no sampling distribution."""
    if isinstance(model, SupportsPosterior):
        raise TypeError(
            f"{type(model).__name__} has a posterior over its parameters, expected estimates, as of a Mixture: their "
            "uncertainty is the spread of fit.model.draw(4000)"
        )


def require_level(level: float) -> None:
    """Raise ValueError for what is no probability."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level!r}, expected a probability such as 0.95")


def _error(value: Tensor, tensors: list[Tensor], covariance: Float[Tensor, "p p"]) -> Float[Tensor, " values"]:
    """The delta method: the square roots of the diagonal of J C J'."""
    if not value.requires_grad:
        return torch.zeros(value.numel(), dtype=torch.float64)
    rows = []
    for entry in value.flatten():
        parts = torch.autograd.grad(entry, tensors, retain_graph=True, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([part.flatten() for part in parts]))
    jacobian = torch.stack(rows)
    jacobian = torch.where(torch.isfinite(jacobian), jacobian, 0.0)  # of coordinates at infinity, which are held
    return ((jacobian @ covariance) * jacobian).sum(1).clamp(min=0).sqrt()


def _inverse(
    information: Float[Tensor, "r r"],
    directions: Float[Tensor, "p r"],
    gradient: Float[Tensor, " p"],
    parameters: list[Parameter],
) -> Float[Tensor, "r r"]:
    """The inverse of the information by Cholesky. Raises ValueError unless this is a maximum, and the only one near."""
    r = len(information)
    scale = information.diagonal().abs().clamp(min=LEAST * SINGULAR).sqrt()
    scaled = information / (scale * scale[:, None])
    if not torch.isfinite(scaled).all():
        raise ValueError("the second derivatives of the log-likelihood are not finite here: bootstrap the fit instead")
    values, vectors = torch.linalg.eigh(scaled)
    if r and values[0] < SINGULAR:
        weak = (directions @ (vectors[:, 0] / scale)).abs().argmax()
        owner = [p.name for p in parameters for _ in range(p.unconstrained.numel())][int(weak)]
        raise ValueError(
            f"the observed information is not positive definite (smallest eigenvalue {float(values[0]):.2g}, along "
            f"{owner}): the fit is not at a maximum, or some parameters are not identified by these rows; fit with a "
            "smaller tol and more passes, or fewer components"
        )
    factor = torch.linalg.cholesky(scaled)
    inverse = torch.cholesky_inverse(factor) / (scale * scale[:, None])
    slope = directions.T @ gradient
    left = float(slope @ inverse @ slope)
    if left > ARRIVED:
        raise ValueError(
            f"the fit is {left**0.5:.2g} standard errors away from the nearest maximum, expected less than "
            f"{ARRIVED**0.5:g}: fit these very rows, weights and labels, with a smaller tol and more passes"
        )
    return inverse


def _require_evidence(model: LatentModel, rows: Rows) -> None:
    """Raise TypeError unless the bound is log p(x)."""
    x = next(rows.chunks(EVALUATION_ROWS)).x
    evidence = model.evidence(x)
    if evidence is None or not torch.allclose(model.bound(x), evidence, rtol=1e-9, atol=1e-9):
        raise TypeError(
            f"the bound of {type(model).__name__} is below log p(x), expected a model fitted by its likelihood: the "
            "curvature of a bound is not the information in the rows; use bootstrap"
        )


def _require_identified(model: LatentModel, parameters: list[Parameter]) -> None:
    """Raise ValueError if the model itself counts fewer free parameters than its coordinates have."""
    own, counted = coordinates(parameters), model.free_parameters()
    if own > counted:
        raise ValueError(
            f"the parameters of {type(model).__name__} have {own} coordinates for {counted} free numbers, so that some "
            "are known up to a rotation only: expected a model whose parameters are identified"
        )
