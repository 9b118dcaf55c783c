"""What `compare` says of fits that have a distribution over their parameters."""

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
MOST = 1 << 26  # draws times cells that are looked at for importance weights


def posterior_scores(fits: Mapping[str, Fit], rows: Rows) -> dict[str, dict[str, float]]:
    """Of each fit with a posterior q over its parameters: log_evidence, log p(all rows) by importance weighting, and
    pareto_k, whether that can be relied on, where q has a density; sd_ratio, the geometric mean over parameters of q's
    standard deviation over that of the first fit by a sampler. NaN for what there is not."""
    able: dict[str, Any] = {name: fit.model for name, fit in fits.items() if isinstance(fit.model, SupportsPosterior)}
    judge = next((model for model in able.values() if model.is_sampled), None)
    found = {}
    for name in fits:
        own = dict.fromkeys(("log_evidence", "pareto_k", "sd_ratio"), math.nan)
        if name in able:
            model = able[name]
            if not (model.is_sampled or model.is_point) and len(rows) * rows.features * DRAWS <= MOST:
                with contextlib.suppress(ArithmeticError):  # weights that are 0 to rounding have no ratios
                    weighed = reliability(model, rows, draws=DRAWS)
                    own |= {"log_evidence": weighed.log_evidence, "pareto_k": weighed.pareto_k}
            if judge is not None:
                own["sd_ratio"] = sd_ratio(judge, model, rows)
        found[name] = own
    return found


@torch.no_grad()
def sd_ratio(judge: Any, model: Any, rows: Rows) -> float:
    """The geometric mean of the ratios of posterior standard deviations, components matched; NaN if they cannot be."""
    try:
        order = align(judge, model, rows)
        model = copy.deepcopy(model)
        model.permute(order)
    except ValueError:  # another number of components, or priors that tell them apart
        return math.nan
    ours, theirs = (_deviations(each.draw(DRAWS, seed=0)) for each in (model, judge))
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return math.nan
    logs = [(ours[name] / theirs[name]).log().flatten() for name in ours]
    ratio = torch.cat(logs).mean().exp()
    return float(ratio)


def _deviations(theta: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.std(0) for name, value in theta.items() if name != "sticks"}
