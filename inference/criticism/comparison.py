"""`Comparison`, what `compare` returns: fits side by side on the same rows."""

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
    """Fits side by side on the same rows: what `compare` returns.

    `str()` is a table for readers, `frame()` and `pairs()` hold its numbers.

    Attributes:
        x: The rows that the fits were scored on.
        fits: The fits by name.

    Example:
        >>> from lowerbound.inference import EM, SVI, compare, fit
        >>> from lowerbound.models import GaussianMixture
        >>> x = [[0.0], [0.2], [1.0], [4.0], [5.0]]
        >>> model = GaussianMixture(1, 1)
        >>> comparison = compare(x, em=fit(model, x, EM()), again=fit(model, x, EM()))
        >>> comparison.pairs().round(6).to_dict("records")
        [{'first': 'em', 'second': 'again', 'parameter_distance': 0.0, 'posterior_kl': 0.0}]
    """

    x: Rows
    fits: dict[str, Fit]
    _scores: pd.DataFrame
    _pairs: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """The scores, one row per fit. Logarithms are in nats; NaN marks what a fit does not have.

        Returns:
            A copy of the table, indexed by the names of the fits, with the columns

            - log_likelihood: sum_i w_i log p(x_i), and log_likelihood_error: its standard error where it is estimated
              by importance weighting, else 0. nats_per_row: log_likelihood / sum_i w_i.
            - held_out, held_out_error: mean log p(x) of the held-out rows, and its error from the same estimate.
            - elbo: sum_i w_i ELBO_i. gap: sum_i w_i KL(q(z_i) || p(z_i | x_i)).
            - log_prior: log p(theta) of a model with priors (MAP), else 0.
            - free_parameters; bic = -2 log_likelihood + free_parameters log(sum_i w_i): lower is better.
            - passes, seconds, converged, reason, gradient_norm: as in `Fit`. A sampler has no passes and no gradient.

            For a model with a posterior q(theta) over its parameters, log_likelihood is that of its predictive
            density, log_prior is -KL(q(theta) || prior), and gap and bic are NaN. Such models have more columns:

            - bound: elbo + log_prior + the logarithm of the number of relabellings of q that fit as well. A lower bound
              of log p(all rows).
            - log_evidence, pareto_k: log p(all rows) by importance sampling from q, and how far to trust it: see
              `Reliability`.
            - sd_ratio: standard deviations of q over those of the first fit by a sampler: their geometric mean over
              parameters.
        """
        return self._scores.copy()

    def pairs(self) -> pd.DataFrame:
        """The distances between fits, one row per pair, with components aligned (see `align`).

        Returns:
            A copy of the table with the columns first, second (names of fits) and

            - parameter_distance: the largest difference of any parameter. Probabilities are compared as they are,
              locations in standard deviations of the data, scales by their logarithms, rates of counts in standard
              deviations of a count.
            - posterior_kl: the mean over rows of KL(first's p(z | x) || second's p(z | x)) in nats.

            NaN where components cannot be matched one to one.
        """
        return self._pairs.copy()

    def plot(self) -> Any:
        """The figures of the comparison, without pyplot: see `lowerbound.inference.plots.figures`.

        Returns:
            matplotlib figures by name, such as "data", "bounds" and "responsibilities".
        """
        return upward("Comparison.plot")(self)

    def report(self, out: str | Path) -> Path:
        """Write tables and figures to a folder, as the command `lowerbound compare` does.

        Args:
            out: The folder, which is made if it is not there.

        Returns:
            The path of its index.html.
        """
        return upward("Comparison.report")(self, out, "lowerbound: " + " and ".join(self.fits))

    def __str__(self) -> str:
        return upward("Comparison.__str__")(self)
