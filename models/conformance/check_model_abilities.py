"""What a model claims beyond its contract (`lowerbound.models.abilities`), as far as it can be checked in a moment."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..abilities import (
    HasComponents,
    HasContinuousLatent,
    HasExpectedLogJoint,
    HasFamily,
    Imputes,
    MakesPassesAhead,
    Summarizes,
    takes_missing,
)
from ..contract import SupportsPosterior
from .check_em import check_expected_log_joint, check_passes_ahead
from .nearly_equal import Same

DRAWS = 2  # of z for each row, in the check of HasContinuousLatent
MISSING = 0.2  # the share of values that are missing in that check


def check_model_abilities(name: str, model: Any, x: Tensor, seed: int, same: Same) -> None:
    """What the model claims beyond the contract."""
    any_model: Any = model
    bound = model.bound(x)
    if isinstance(model, HasComponents):
        order, any_twin = model.canonical_order(), copy.deepcopy(any_model)
        if not isinstance(model, SupportsPosterior):
            any_twin.permute(order.flip(0))
            if not same(any_twin.bound(x), bound):
                raise ValueError(f"{name}: permute(order) changes bound(x), expected a relabelling of the components")
    if isinstance(model, Summarizes):
        model.summary()
    if takes_missing(model):
        torn = _with_missing(model, x, seed)
        some = any_model.bound(torn)
        if not torch.isfinite(some).all() or not same(some[:1], bound[:1]):
            raise ValueError(
                f"{name}: with missing values bound(x) is not finite, or changes for complete rows, expected the bound "
                "of the observed values of each row"
            )
        if isinstance(model, Imputes):
            _check_filled(name, "impute(x).values", model.impute(torn).values, torn)
            _check_filled(name, "draw_missing(x, 1)[0]", model.draw_missing(torn, 1, seed)[0], torn)
    if isinstance(model, HasExpectedLogJoint) and model.has_expected_log_joint:
        check_expected_log_joint(name, model, x, same)
    if isinstance(model, MakesPassesAhead):
        check_passes_ahead(name, model, x, same)
    if isinstance(model, HasContinuousLatent):
        z, means = model.transform(x), model.reconstruct(x)
        if z.shape != (len(x), model.latent) or means.shape != x.shape:
            raise ValueError(
                f"{name}: transform(x) and reconstruct(x) have shapes {tuple(z.shape)} and {tuple(means.shape)}, "
                f"expected ({len(x)}, {model.latent}) and {tuple(x.shape)}"
            )
        _check_draws(name, model, x)


def _check_draws(name: str, model: Any, x: Tensor) -> None:
    """The weighted bound of some draws, by whose gradient `SVI("analytic")` and `SVI("importance")` step."""
    draws = model.draws(x, DRAWS, trusted=True)
    shapes, wanted = (tuple(draws.z.shape), tuple(draws.log_likelihood.shape)), (DRAWS, len(x))
    if shapes != ((*wanted, model.latent), wanted):
        raise ValueError(
            f"{name}: z and log_likelihood of draws(x, {DRAWS}) have shapes {shapes[0]} and {shapes[1]}, expected "
            f"{(*wanted, model.latent)} and {wanted}"
        )
    moved = [p for p in model.parameters() if p.requires_grad]
    if not moved:
        return
    weights = torch.linspace(0.5, 1.5, len(x), dtype=torch.float64)
    for what, values in (("elbo()", draws.elbo()), ("log_weights()", draws.log_weights().logsumexp(0))):
        if not values.requires_grad:
            raise ValueError(
                f"{name}: {what} of draws(x) carries no gradient, expected one in the parameters: draw z by rsample, "
                "and do not detach log p(x | z)"
            )
        slopes = torch.autograd.grad(weights.to(values) @ values, moved, allow_unused=True, retain_graph=True)
        if not all(torch.isfinite(slope).all() for slope in slopes if slope is not None):
            raise ValueError(
                f"{name}: the gradient of {what} of draws(x) is not finite, expected numbers: look for 0 * inf, or a "
                "square root or logarithm at 0"
            )


def _with_missing(model: Any, x: Tensor, seed: int) -> Tensor:
    """x with some values missing, none of them in its first row or where the family takes none."""
    gone = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < MISSING
    gone[0] = False
    if isinstance(model, HasFamily):  # one part of a Product may take missing values, another not
        refused = model.family.unsupported(x.masked_fill(gone, torch.nan))
        gone = gone if refused is None else gone & ~refused
    return x.masked_fill(gone, torch.nan)


def _check_filled(name: str, what: str, filled: Tensor, x: Tensor) -> None:
    observed = ~x.isnan()
    if filled.shape != x.shape or not torch.equal(filled[observed], x[observed]) or not filled.isfinite().all():
        raise ValueError(
            f"{name}: {what} changes observed values, or leaves some that are no numbers, expected the table with its "
            "missing values filled in"
        )
