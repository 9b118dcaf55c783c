"""The scores of one fit in `compare`: sums over the rows of log p(x), the ELBO and the gap between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributions import Categorical

from ...models import LatentModel, Rows, SupportsPosterior
from ...models.random_state import fixed_seed, gpus
from ..engines.data_bound import EVALUATION_ROWS
from ..fitting.fit_result import Fit
from .elbo_gap import elbo_gap
from .evidence import evidence

ROUNDING = 1e-12  # relative to the ELBO: a smaller gap is rounding, and its sign is dropped
SAMPLES = 200  # draws of a continuous z for each row, where log p(x) has no closed form


@dataclass(frozen=True)
class RowSums:
    """Weighted sums over rows, in nats: log p(x), the variance of its estimate, the ELBO, and KL(q || posterior)."""

    evidence: float
    variance: float
    elbo: float
    gap: float


def fit_scores(entry: Fit, rows: Rows, held_out: Rows | None) -> dict[str, Any]:
    """The columns of `Comparison.frame` that every fit has."""
    model = entry.model
    sums = row_sums(model, rows)
    held_out_mean = held_out_error = math.nan
    if held_out is not None:
        held_out_sums = row_sums(model, held_out)
        held_out_mean = held_out_sums.evidence / held_out.total_weight
        held_out_error = held_out_sums.variance**0.5 / held_out.total_weight
    parameters = model.free_parameters()
    log_prior = float(model.global_term().detach())
    has_posterior = isinstance(model, SupportsPosterior)
    sampled = has_posterior and model.is_sampled
    bound = math.nan
    if has_posterior and not model.is_point:  # of all relabellings of q together
        bound = sums.elbo + log_prior + model.log_labellings(rows.labels)
    return {
        "log_likelihood": sums.evidence,
        "log_likelihood_error": sums.variance**0.5,
        "nats_per_row": sums.evidence / rows.total_weight,
        "held_out": held_out_mean,
        "held_out_error": held_out_error,
        "elbo": sums.elbo,
        "gap": sums.gap,
        "log_prior": log_prior,
        "bound": bound,
        "free_parameters": parameters,
        # BIC is defined at a maximum of the likelihood
        "bic": math.nan if has_posterior else -2 * sums.evidence + parameters * math.log(rows.total_weight),
        # a sampler maximizes nothing
        "passes": math.nan if sampled else len(entry.bounds),
        "seconds": entry.seconds,
        "converged": entry.converged,
        "reason": entry.reason,
        "gradient_norm": math.nan if sampled else entry.gradient_norm,
    }


def row_sums(model: LatentModel, rows: Rows) -> RowSums:
    """The sums over all rows. A table that draws its rows gives the same rows to every model."""
    sums, done = torch.zeros(4, dtype=torch.float64), 0
    with fixed_seed(0, gpus(model)):
        for chunk in rows.chunks(EVALUATION_ROWS):
            weights = torch.ones(len(chunk.x), dtype=torch.float64) if chunk.weights is None else chunk.weights
            if isinstance(model, SupportsPosterior):
                predictive, bound = model.evidence(chunk.x), model.bound(chunk.x, chunk.labels)
                assert predictive is not None
                # KL(q(theta) || prior) belongs to no single row, so that rows have no gap
                terms = (predictive, torch.zeros_like(predictive), bound, torch.full_like(bound, torch.nan))
            elif isinstance(model.posterior(chunk.x[:1]), Categorical):
                parts = elbo_gap(model, chunk.x)
                terms = (parts.evidence, torch.zeros_like(parts.evidence), model.bound(chunk.x).double(), parts.kl)
            else:
                found = evidence(model, chunk.x, SAMPLES, seed=done)  # other draws in each chunk: errors add
                terms = (found.log_evidence, found.standard_error**2, found.elbo, found.log_evidence - found.elbo)
            powers = (weights, weights**2, weights, weights)
            sums += torch.stack([term @ power for term, power in zip(terms, powers, strict=True)])
            done += len(chunk.x)
    evidence_sum, variance, elbo, gap = sums.tolist()
    return RowSums(evidence_sum, variance, elbo, gap if abs(gap) > ROUNDING * abs(elbo) else abs(gap))
