"""Fits side by side on the same rows: what compare() returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ...models import Rows
from ..fitting.fit_result import Fit
from ..upward import upward


@dataclass(frozen=True)
class Comparison:
    """Fits side by side on the rows `x`. `str()` is the table a reader sees, `frame()` and `pairs()` its numbers."""

    x: Rows
    fits: dict[str, Fit]
    _scores: pd.DataFrame
    _pairs: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """One row per fit: log_likelihood, nats_per_row, elbo, gap (KL(q || posterior)), log_prior, in nats;
        log_likelihood_error, the standard error of log_likelihood where it has no closed form and is estimated by
        importance weighting, else 0; free_parameters; bic = -2 log_likelihood + free_parameters log(sum
        of weights), lower is better; held_out, held_out_error: nats per row of the rows held out, NaN if there are
        none; passes, seconds; converged, reason; gradient_norm, as in `Fit`, but NaN, as passes are, of a sampler.

        Of a model with a posterior q over its parameters log_likelihood is that of its predictive density, log_prior is
        -KL(q || prior), there is no gap and no BIC, and there are bound = elbo + log_prior + the logarithm of how many
        relabellings are as good, a lower bound of log p(all rows), and log_evidence, pareto_k and sd_ratio, as in
        `posterior_scores`."""
        return self._scores.copy()

    def pairs(self) -> pd.DataFrame:
        """One row per pair of fits, components aligned: parameter_distance, the largest difference of any parameter
        (probabilities as they are, locations in standard deviations of the data, scales in logarithms, rates of counts
        in standard deviations of a count), and
        posterior_kl, the mean over rows of KL(first's posterior || second's) in nats. NaN where labels do not match."""
        return self._pairs.copy()

    def plot(self) -> Any:
        """The matplotlib figures, by name: see `lowerbound.inference.plots.figures`."""
        return upward("Comparison.plot")(self)

    def report(self, out: str | Path) -> Path:
        """Write the tables and figures to the folder `out`, as `lowerbound compare` does; returns its index.html."""
        return upward("Comparison.report")(self, out, "lowerbound: " + " and ".join(self.fits))

    def __str__(self) -> str:
        return upward("Comparison.__str__")(self)
