"""The observed information: minus the Hessian of the log-likelihood at its maximum, and its inverse."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...data.threads import threads_for
from ...models import LatentModel, Rows
from ..engines.data_bound import EVALUATION_ROWS
from .named_parameters import NamedParameter

LEAST = 0.01  # information of a coordinate (log odds, logarithm, units of the data) whose standard error is then 10
SINGULAR = 1e-8  # smallest eigenvalue of the information, its diagonal scaled to 1
AT_MAXIMUM = 0.01  # squared distance from the maximum in standard errors: twice the nats left to gain


def gradient_and_hessian(
    model: LatentModel, rows: Rows, parameters: list[NamedParameter]
) -> tuple[Float[Tensor, " p"], Float[Tensor, "p p"]]:
    """Gradient and Hessian of sum_i w_i objective_i + global term in the unconstrained coordinates.

    Both are 0 in coordinates that are infinite (a probability of exactly 0), which cannot move.
    """
    tensors = [parameter.unconstrained for parameter in parameters]
    finite = torch.cat([torch.isfinite(t.detach()).flatten() for t in tensors])
    gradient = torch.zeros(len(finite), dtype=torch.float64)
    hessian = torch.zeros(len(finite), len(finite), dtype=torch.float64)

    def derivative(value: Tensor, graph: bool) -> Tensor:
        parts = torch.autograd.grad(
            value, tensors, create_graph=graph, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return torch.cat([part.flatten() for part in parts])

    def add(value: Tensor) -> None:
        if not value.requires_grad:
            return
        slope = derivative(value, graph=True)
        gradient.add_(torch.where(finite, slope.detach(), 0.0))
        for i in finite.nonzero().flatten().tolist() if slope.requires_grad else ():
            hessian[i] += torch.where(finite, derivative(slope[i], graph=False).detach(), 0.0)

    with torch.enable_grad(), threads_for(min(len(rows), EVALUATION_ROWS) * rows.features):
        for chunk in rows.chunks(EVALUATION_ROWS):
            objective = model.objective(chunk.x, chunk.labels).double()
            add(objective.sum() if chunk.weights is None else objective @ chunk.weights)
        add(model.global_term())
    return gradient, (hessian + hessian.T) / 2


def inverse_information(
    information: Float[Tensor, "r r"],
    directions: Float[Tensor, "p r"],
    gradient: Float[Tensor, " p"],
    parameters: list[NamedParameter],
) -> Float[Tensor, "r r"]:
    """The inverse of the information by Cholesky. Raises ValueError unless the fit is at a unique maximum."""
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
    squared_distance = float(slope @ inverse @ slope)
    if squared_distance > AT_MAXIMUM:
        raise ValueError(
            f"the fit is {squared_distance**0.5:.2g} standard errors away from the nearest maximum, expected less than "
            f"{AT_MAXIMUM**0.5:g}: fit these very rows, weights and labels, with a smaller tol and more passes"
        )
    return inverse
