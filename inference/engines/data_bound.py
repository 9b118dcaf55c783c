"""The bound of a whole table at the current parameters, the norm of its gradient, and the E-step of all rows."""

from __future__ import annotations

from functools import partial, reduce
from operator import add
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...data.rows import EVALUATION_ROWS
from ...models import LatentModel, Rows, Statistics, SupportsEM
from ...models.abilities import HasExpectedLogJoint


@torch.no_grad()
def data_bound(model: LatentModel, rows: Rows) -> Float[Tensor, ""]:
    """(sum_i w_i bound_i + global term) / sum_i w_i over all rows, in nats per row, as a tensor on the CPU."""
    return (_total(model, rows) + model.global_term().detach().cpu().double()) / rows.total_weight


def expectation(
    model: SupportsEM, rows: Rows, dtype: torch.dtype | None = None
) -> tuple[Statistics, Float[Tensor, ""]]:
    """The E-step of all rows: their summed statistics and, from these, the same number as `data_bound`.

    dtype: the precision to compute in, for a model whose `expect` takes one.
    """
    options: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    statistics = rows.reduced(
        lambda: reduce(add, (model.expect(*chunk.arguments, **options) for chunk in rows.chunks()))
    )
    return statistics, (statistics.bound + model.global_term().detach()) / statistics.total_weight


@torch.no_grad()
def held_out_bound(model: LatentModel, rows: Rows) -> Float[Tensor, ""]:
    """sum_i w_i bound_i / sum_i w_i over rows the model was not fitted to, in nats per row.

    The global term (the log prior) is left out: it belongs to the rows of the fit.
    """
    return _total(model, rows) / rows.total_weight


def _total(model: LatentModel, rows: Rows) -> Float[Tensor, ""]:
    """sum_i w_i bound_i, added up in float64 on the CPU."""
    return rows.reduced(partial(_total_here, model, rows))


def _total_here(model: LatentModel, rows: Rows) -> Float[Tensor, ""]:
    """The same sum over the rows of this process."""
    total = torch.zeros((), dtype=torch.float64)
    for chunk in rows.chunks(evaluation_rows(rows)):
        bound = model.bound(chunk.x, chunk.labels).double()
        total += (bound.sum() if chunk.weights is None else bound @ chunk.weights.to(bound)).cpu()
    return total


def evaluation_rows(rows: Rows) -> int:
    """How many rows to evaluate at a time: fewer with missing values, where a model may hold (k, d, d) per row."""
    gaps = rows.is_fixed and rows.gaps.cells  # reading a table that draws its rows would change its random state
    return max(1, EVALUATION_ROWS // rows.features) if gaps else EVALUATION_ROWS


def gradient_norm(model: LatentModel, rows: Rows, statistics: Statistics | None = None) -> float:
    """The Euclidean norm of the gradient of `data_bound` in the unconstrained parameters, in nats per row.

    Unconstrained parameters are in units of the data, so the norm does not depend on those units. statistics: those
    of all rows at these parameters, if known; they save an E-step where the gradient follows from them.
    """
    return float(bound_gradient(model, rows, statistics).norm())


def bound_gradient(model: LatentModel, rows: Rows, statistics: Statistics | None = None) -> Float[Tensor, " p"]:
    """The gradient itself, (p,) float64 on the CPU: all parameters that are not frozen, one after another.

    Coordinates at minus infinity (a probability of exactly 0) cannot move and count as 0. statistics: as above.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        return torch.zeros(0, dtype=torch.float64)
    size = -(-evaluation_rows(rows) // 8)  # the backward pass takes memory, too

    def add_gradient(to: Tensor, value: Tensor) -> None:
        parts = torch.autograd.grad(value, parameters, allow_unused=True)
        for total, part in zip(to.split([p.numel() for p in parameters]), parts, strict=True):
            if part is not None:
                total += part.flatten().cpu()

    def zeros() -> Tensor:
        return torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)  # on the CPU

    def gradient_here() -> Tensor:
        gradient = zeros()
        for chunk in rows.chunks(size):
            bound = model.objective(chunk.x, chunk.labels).double()
            add_gradient(gradient, bound.sum() if chunk.weights is None else bound @ chunk.weights.to(bound))
        return gradient

    with torch.enable_grad():
        if isinstance(model, HasExpectedLogJoint) and model.has_expected_log_joint:
            by_statistics: Any = model
            known = expectation(by_statistics, rows)[0] if statistics is None else statistics
            add_gradient(gradient := zeros(), by_statistics.expected_log_joint(known))
        else:
            gradient = rows.reduced(gradient_here)
        term = model.global_term()
        if term.requires_grad:
            add_gradient(gradient, term)
    flat = gradient / rows.total_weight
    at_boundary = torch.cat([(p.detach() == -torch.inf).flatten().cpu() for p in parameters])
    return torch.where(at_boundary, 0.0, flat)
