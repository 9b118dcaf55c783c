"""What a candidate costs and foresees: its information criteria, and how it does on rows that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.distributions import Categorical

from ...models import Rows, SupportsPosterior
from ..engines.data_bound import EVALUATION_ROWS
from ..fitting.fit_result import Fit
from .compare import SAMPLES
from .evidence import evidence


def densities(model: Any, rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Chunk by chunk the numbers of the rows, log p(x) of each (given its label, where it has one), and its variance
    where that is an estimate."""
    for chunk in rows.chunks(EVALUATION_ROWS):
        at = chunk.numbers.numpy()  # type: ignore[union-attr]
        if chunk.labels is not None:
            values = model.bound(chunk.x, chunk.labels).double().numpy()
            yield at, values, np.zeros(len(at))
        else:
            found = evidence(model, chunk.x, SAMPLES, seed=int(at[0]))
            yield at, found.log_evidence.double().numpy(), found.standard_error.double().numpy() ** 2


def entropy(model: Any, rows: Rows) -> float:
    """Entropy of the assignments, nats per row; NaN for a latent that is not categorical. A known label has none."""
    total = 0.0
    for chunk in rows.chunks(EVALUATION_ROWS):
        posterior = model.posterior(chunk.x)
        if not isinstance(posterior, Categorical):
            return math.nan
        own = posterior.entropy().double()
        if chunk.labels is not None:
            own = torch.where(chunk.labels >= 0, 0.0, own)
        total += float(own.sum() if chunk.weights is None else own @ chunk.weights)
    return max(total, 0.0) / rows.total_weight


def score(fitted: Fit, rows: Rows) -> dict[str, Any]:
    """What `Selection.frame` has of a candidate fitted to all rows."""
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights.numpy()
    log_likelihood = variance = 0.0
    for at, values, variances in densities(fitted.model, rows):
        log_likelihood += float(values @ weights[at])
        variance += float(variances @ weights[at] ** 2)
    p, n, doubt = fitted.model.free_parameters(), rows.total_weight, entropy(fitted.model, rows)
    bic, aic, bound = -2 * log_likelihood + p * math.log(n), -2 * log_likelihood + 2 * p, math.nan
    if isinstance(fitted.model, SupportsPosterior) and not fitted.model.is_point:
        bic = aic = math.nan  # of a maximum of the likelihood
        bound = float(fitted.bounds[-1]) * n + fitted.model.log_labellings(rows.labels)
    return {
        "log_likelihood": log_likelihood,
        "log_likelihood_error": variance**0.5,
        "free_parameters": p,
        "bic": bic,
        "icl": bic + 2 * n * doubt,
        "aic": aic,
        "bound": bound,
        "entropy": doubt,
        "best_found": fitted.optima[0].count,
        "collapsed": sum(end.count for end in fitted.optima if end.collapsed),
        "converged": fitted.converged,
    }


def cross_validated(table: pd.DataFrame, unseen: dict[str, np.ndarray], rows: Rows) -> None:
    """Fill in the columns of the rows held out: means, and standard errors over rows, one of weight 2 as two."""
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights.numpy()
    some = weights > 0
    share = weights[some] / weights.sum()

    def moments(values: np.ndarray) -> tuple[float, float]:
        mean = float(share @ values)
        if not math.isfinite(mean):  # a row that the others make impossible
            return mean, math.nan
        return mean, float(share @ (values - mean) ** 2 / weights.sum()) ** 0.5

    for name, values in unseen.items():
        table.loc[name, ["held_out", "held_out_error"]] = moments(values[some])
    possible = {name: values for name, values in unseen.items() if np.isfinite(values[some]).all()}
    if not possible:
        return
    best = max(possible.values(), key=lambda values: float(share @ values[some]))[some]
    for name, values in unseen.items():
        table.loc[name, ["behind", "behind_error"]] = moments(best - values[some])
