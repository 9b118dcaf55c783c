"""The scores of one candidate of `select`: information criteria, entropy of the assignments, cross-validation."""

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
from ..fitting.fit_arguments import counts_rows
from ..fitting.fit_result import Fit
from .evidence import evidence
from .fit_scores import SAMPLES


def candidate_scores(fitted: Fit, rows: Rows) -> dict[str, Any]:
    """The columns of `Selection.frame` that a fit to all rows has."""
    model: Any = fitted.model
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights.numpy()
    log_likelihood = variance = 0.0
    for numbers, values, variances in log_densities(fitted.model, rows):
        log_likelihood += float(values @ weights[numbers])
        variance += float(variances @ weights[numbers] ** 2)
    p, n, entropy = fitted.model.free_parameters(), rows.total_weight, assignment_entropy(fitted.model, rows)
    bic, aic, bound = -2 * log_likelihood + p * math.log(n), -2 * log_likelihood + 2 * p, math.nan
    if isinstance(fitted.model, SupportsPosterior) and not fitted.model.is_point:
        bic = aic = math.nan  # defined at a maximum of the likelihood
        bound = float(fitted.bounds[-1]) * n + fitted.model.log_labellings(rows.labels)
    return {
        "log_likelihood": log_likelihood,
        "log_likelihood_error": variance**0.5,
        "free_parameters": p,
        "bic": bic,
        "icl": bic + 2 * n * entropy,
        "aic": aic,
        "bound": bound,
        "entropy": entropy,
        "best_found": fitted.optima[0].count,
        "collapsed": sum(optimum.count for optimum in fitted.optima if optimum.collapsed),
        "converged": fitted.converged,
        "fewest_rows": float(model.component_rows(rows.counted_rows).min()) if counts_rows(model) else math.nan,
    }


def log_densities(model: Any, rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Chunk by chunk: row numbers, log p(x) of each row (log p(x, label) if labels are given), and the variance of that
    estimate, 0 where it is exact."""
    for chunk in rows.chunks(EVALUATION_ROWS):
        numbers = chunk.numbers.numpy()  # type: ignore[union-attr]
        if chunk.labels is not None:
            values = model.bound(chunk.x, chunk.labels).double().numpy()
            yield numbers, values, np.zeros(len(numbers))
        else:
            found = evidence(model, chunk.x, SAMPLES, seed=int(numbers[0]))
            yield numbers, found.log_evidence.double().numpy(), found.standard_error.double().numpy() ** 2


def assignment_entropy(model: Any, rows: Rows) -> float:
    """The mean entropy of p(z | x) in nats per row, 0 for a row with a known label; NaN if z is not categorical."""
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


def add_cross_validation(table: pd.DataFrame, held_out: dict[str, np.ndarray], rows: Rows) -> None:
    """Fill in the columns held_out and behind: means over rows and their standard errors.

    held_out: for each candidate, log p(x) (n,) of each row by the fit that left it out. A row of weight 2 counts as two
    rows.
    """
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights.numpy()
    some = weights > 0
    share = weights[some] / weights.sum()

    def mean_and_error(values: np.ndarray) -> tuple[float, float]:
        mean = float(share @ values)
        if not math.isfinite(mean):  # a row that is impossible under the fit to the others
            return mean, math.nan
        return mean, float(share @ (values - mean) ** 2 / weights.sum()) ** 0.5

    for name, values in held_out.items():
        table.loc[name, ["held_out", "held_out_error"]] = mean_and_error(values[some])
    possible = {name: values for name, values in held_out.items() if np.isfinite(values[some]).all()}
    if not possible:
        return
    best = max(possible.values(), key=lambda values: float(share @ values[some]))[some]
    for name, values in held_out.items():
        table.loc[name, ["behind", "behind_error"]] = mean_and_error(best - values[some])
