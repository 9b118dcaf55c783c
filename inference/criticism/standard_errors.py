"""`standard_errors`: standard errors of the parameters of a fit, from the observed information."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ...data.rows import as_rows
from ...models import LatentModel, Rows
from ..engines.data_bound import EVALUATION_ROWS
from ..engines.gradient_mode import gradients_enabled
from ..fitting.fit_result import Fit
from ..fitting.result_checks import require_made_by
from .estimate_table import Of, estimate_table, require_estimates, require_known, require_level
from .named_parameters import NamedParameter, count_coordinates, identified_directions, parameters_of, values_of
from .observed_information import LEAST, gradient_and_hessian, inverse_information

MAX_COORDINATES = 2000  # memory for the information grows with its square, time for the inverse with its cube


@dataclass(frozen=True)
class StandardErrors:
    """Estimates and their standard errors, by the names a user types: what `standard_errors` returns.

    Attributes:
        estimates: Values by name, such as "weights" and "family.loc".
        errors: Their standard errors, of the same shapes. An error is NaN where the estimate is at the boundary of its
            range, such as a probability of 0, or the rows do not determine it: no normal distribution is near. The
            other errors are then conditional on its value. An error is 0 for a constant, such as an entry above the
            diagonal of a Cholesky factor.

    Example:
        >>> import torch
        >>> from lowerbound.inference import StandardErrors
        >>> errors = StandardErrors({"rate": torch.tensor([2.0])}, {"rate": torch.tensor([0.5])})
        >>> errors["rate"]
        tensor([0.5000])
        >>> errors.frame().round(2).to_dict("records")
        [{'estimate': 2.0, 'standard_error': 0.5, 'lower': 1.02, 'upper': 2.98}]
    """

    estimates: dict[str, Tensor]
    errors: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        """The standard errors of a parameter. Raises ValueError for a name that is not in `errors`."""
        return require_known(name, self.errors)

    def frame(self, level: float = 0.95) -> pd.DataFrame:
        """Estimates with intervals, estimate -+ z standard_error.

        Args:
            level: The probability that an interval covers its parameter if the estimate is normal. An interval may
                leave the range of the parameter, such as (0, 1).

        Returns:
            One row for each number that is not constant, with the columns estimate, standard_error, lower, upper.

        Raises:
            ValueError: `level` is no probability.
        """
        require_level(level)
        z = NormalDist().inv_cdf((1 + level) / 2)
        parts = {
            name: (value, self.errors[name], value - z * self.errors[name], value + z * self.errors[name])
            for name, value in self.estimates.items()
        }
        return estimate_table(parts, {name: error != 0 for name, error in self.errors.items()})

    def __str__(self) -> str:
        return self.frame().to_string(float_format="{:.5g}".format)

    __repr__ = __str__


@gradients_enabled()
def standard_errors(fit: Fit, x: Any, weights: Any = None, labels: Any = None, of: Of = None) -> StandardErrors:
    """sqrt(diag(J I^-1 J')): I is the observed information, J the Jacobian of the parameters.

    I is minus the Hessian of the total log-likelihood (plus log prior) in the unconstrained parameters, J the
    derivative of the constrained parameters in them. Frozen parameters are taken as known. McLachlan & Peel, Finite
    Mixture Models (2000), section 2.15.

    Args:
        fit: A fit at a maximum of its likelihood, such as one by `EM`.
        x: (n, d) rows of the fit.
        weights: (n,) row weights of the fit, or None. A row of weight 2 counts as two rows.
        labels: (n,) labels of the fit, -1 where unknown, or None.
        of: Other functions of the model, by name, such as
            `{"covariance": lambda m: m.family.scale_tril @ m.family.scale_tril.mT}`. Their errors follow by the delta
            method, so that they must be differentiable.

    Returns:
        A `StandardErrors`: print it, or take its numbers from `frame()`.

    Raises:
        TypeError: `fit` is no `Fit`, the bound of the model is not log p(x), or it has a posterior over its parameters.
        ValueError: The fit is not at a maximum, or at one that is not unique (parameters that are not identified, such
            as a loading up to rotation); there are more than 2000 parameters; or a function has no gradient.

    Example:
        >>> from lowerbound.inference import EM, fit, standard_errors
        >>> from lowerbound.models import PoissonMixture
        >>> x = [[1.0], [3.0], [2.0], [2.0]]
        >>> errors = standard_errors(fit(PoissonMixture(1, 1), x, EM()), x)
        >>> round(float(errors["family.rate"]), 4)  # sqrt(mean / n)
        0.7071
    """
    require_made_by("fit()", Fit, fit=fit)
    model = fit.model
    require_estimates(model)
    rows = as_rows(x, weights, labels, model)
    parameters = parameters_of(model)
    tensors = [parameter.unconstrained for parameter in parameters]
    size = sum(tensor.numel() for tensor in tensors)
    if not 0 < size <= MAX_COORDINATES:
        cure = ": use bootstrap" if size else ": thaw some, since frozen parameters are taken as known"
        raise ValueError(f"the model has {size} parameters that are not frozen, expected 1 to {MAX_COORDINATES}{cure}")
    _require_exact_bound(model, rows)
    gradient, hessian = gradient_and_hessian(model, rows, parameters)
    moving = torch.cat([parameter.varying()[1] for parameter in parameters])
    infinite = ~torch.cat([torch.isfinite(t.detach()).flatten() for t in tensors])
    held = moving & (infinite | (hessian.diagonal().abs() < LEAST))
    _require_identified(model, parameters)
    directions = identified_directions(parameters, held)
    covariance = directions @ inverse_information(
        -directions.T @ hessian @ directions, directions, gradient, parameters
    )
    covariance = covariance @ directions.T
    with torch.enable_grad():
        values = values_of(model, of)
        for name in of or ():
            if not values[name].requires_grad:
                raise ValueError(
                    f"{name} has no gradient in the parameters that are not frozen, expected a function of them by "
                    "torch operations, without detach(), numpy or no_grad: else use bootstrap(fit, x, of=...)"
                )
        errors = {
            name: _delta_method(value, tensors, covariance).reshape(value.shape) for name, value in values.items()
        }
    for parameter, own in zip(parameters, held.split([t.numel() for t in tensors]), strict=True):
        error = errors[parameter.name]
        same = error.numel() == len(own)  # else it is not known which values depend on a coordinate
        errors[parameter.name] = torch.where(own.reshape(error.shape) if same else own.any(), torch.nan, error)
    return StandardErrors({name: value.detach() for name, value in values.items()}, errors)


def _delta_method(value: Tensor, tensors: list[Tensor], covariance: Float[Tensor, "p p"]) -> Float[Tensor, " values"]:
    """The square roots of the diagonal of J C J', with J the Jacobian of `value` in the tensors."""
    if not value.requires_grad:
        return torch.zeros(value.numel(), dtype=torch.float64)
    rows = []
    for entry in value.flatten():
        parts = torch.autograd.grad(entry, tensors, retain_graph=True, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([part.flatten() for part in parts]))
    jacobian = torch.stack(rows)
    jacobian = torch.where(torch.isfinite(jacobian), jacobian, 0.0)  # infinite coordinates are held fixed
    return ((jacobian @ covariance) * jacobian).sum(1).clamp(min=0).sqrt()


def _require_exact_bound(model: LatentModel, rows: Rows) -> None:
    """Raise TypeError unless the bound is log p(x)."""
    x = next(rows.chunks(EVALUATION_ROWS)).x
    evidence = model.evidence(x)
    if evidence is None or not torch.allclose(model.bound(x), evidence, rtol=1e-9, atol=1e-9):
        raise TypeError(
            f"the bound of {type(model).__name__} is below log p(x), expected a model fitted by its likelihood: the "
            "curvature of a bound is not the information in the rows; use bootstrap"
        )


def _require_identified(model: LatentModel, parameters: list[NamedParameter]) -> None:
    """Raise ValueError if the model has fewer free parameters than independent coordinates."""
    own, counted = count_coordinates(parameters), model.free_parameters()
    if own > counted:
        raise ValueError(
            f"the parameters of {type(model).__name__} have {own} coordinates for {counted} free numbers, so that some "
            "are known up to a rotation only: expected a model whose parameters are identified"
        )
