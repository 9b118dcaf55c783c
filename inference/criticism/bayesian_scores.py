"""The scores in `compare` of fits with a posterior over their parameters: log evidence, Pareto k, sd ratio."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...models import Rows, SupportsPosterior
from ..fitting.fit_result import Fit
from .align import align
from .reliability import reliability

DRAWS = 2000  # of the parameters, for standard deviations and importance weights
MAX_CELLS = 1 << 26  # draws times cells of the table, above which importance weights would take too long


def bayesian_scores(fits: Mapping[str, Fit], rows: Rows) -> dict[str, dict[str, float]]:
    """The columns log_evidence, pareto_k and sd_ratio of `Comparison.frame`, NaN for what a fit does not have.

    log_evidence and pareto_k need a q with a density, sd_ratio a fit by a sampler among the fits.
    """
    models: dict[str, Any] = {name: fit.model for name, fit in fits.items() if isinstance(fit.model, SupportsPosterior)}
    sampled = next((model for model in models.values() if model.is_sampled), None)
    found = {}
    for name in fits:
        own = dict.fromkeys(("log_evidence", "pareto_k", "sd_ratio"), math.nan)
        if name in models:
            model = models[name]
            if not (model.is_sampled or model.is_point) and len(rows) * rows.features * DRAWS <= MAX_CELLS:
                with contextlib.suppress(ArithmeticError):  # weights that underflow to 0 have no ratios
                    estimate = reliability(model, rows, draws=DRAWS)
                    own |= {"log_evidence": estimate.log_evidence, "pareto_k": estimate.pareto_k}
            if sampled is not None:
                own["sd_ratio"] = sd_ratio(sampled, model, rows)
        found[name] = own
    return found


@torch.no_grad()
def sd_ratio(sampled: Any, model: Any, rows: Rows) -> float:
    """The geometric mean over parameters of posterior standard deviations, those of `model` over those of `sampled`,
    with components aligned; NaN if components or parameters do not match."""
    try:
        order = align(sampled, model, rows)
        model = copy.deepcopy(model)
        model.permute(order)
    except (ValueError, TypeError):  # other numbers of components, priors that tell them apart, or a guide like that
        return math.nan
    ours, theirs = (_standard_deviations(each.draw(DRAWS, seed=0)) for each in (model, sampled))
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return math.nan
    logs = [(ours[name] / theirs[name]).log().flatten() for name in ours]
    ratio = torch.cat(logs).mean().exp()
    return float(ratio)


def _standard_deviations(theta: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.std(0) for name, value in theta.items() if name != "sticks"}
