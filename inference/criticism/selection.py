"""Candidates that were fitted to the same rows: what select() returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...models import Rows
from ..fitting.fit_result import Fit
from ..upward import upward

CRITERIA = {"bic": "BIC", "icl": "ICL", "bound": "bound of log evidence", "held_out": "held out", "aic": "AIC"}


LOWER = ("bic", "icl", "aic")  # are better


@dataclass(frozen=True)
class Selection:
    """Candidates fitted to the rows `x`. `str()` is the table a reader sees, `frame()` its numbers.

    fits: by name, of all candidates but those of which every restart collapsed. degenerate: by name, why a candidate
    cannot be the best: every restart collapsed, on all rows or without those of some fold.
    """

    x: Rows
    fits: dict[str, Fit]
    degenerate: dict[str, str]
    _table: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """One row per candidate, NaN for what it does not have.

        log_likelihood: nats, row weights counted (given the labels, where there are some); log_likelihood_error: its
        standard error where it is estimated by draws of z, else 0. free_parameters: p. With n the sum of the weights,
        bic = -2 log_likelihood + p log n, aic = -2 log_likelihood + 2 p, icl = bic + 2 n entropy (minus twice the
        ICL-BIC of Biernacki, Celeux & Govaert, IEEE TPAMI 22 (2000), with the entropy of the soft assignments): of all
        three the lower is the better; of a model with a posterior over its parameters instead bound, the lower bound of
        log p(all rows) in nats, that of all its relabellings together: the higher the better. entropy: of the
        assignments p(z | x), nats per row, 0 where no row is in doubt.
        held_out, held_out_error: nats per row of rows left out in turn, the higher the better, and its standard error
        over rows; behind, behind_error: how far that is below the best candidate's, and the standard error of this
        difference, rows paired. best_found: how many of the `restarts` ended at the best optimum; collapsed: how many
        in a singularity. converged; seconds: of all its fits; degenerate: why it cannot be the best, or "".
        """
        return self._table.copy()

    def best(self, criterion: str | None = None) -> str:
        """The name of the best candidate by "bic", "icl", "aic" (lowest), "bound" or "held_out" (highest), by default
        "bic", or "bound" where there is no BIC, of those that are not degenerate. Raises ValueError if there is
        none."""
        if criterion is None:
            finite = {c: any(math.isfinite(line[c]) for line in self._lines().values()) for c in ("bic", "bound")}
            criterion = "bound" if finite["bound"] and not finite["bic"] else "bic"
        if criterion not in CRITERIA:
            raise ValueError(f"criterion is {criterion!r}, expected one of {', '.join(map(repr, CRITERIA))}")
        values = {
            name: float(line[criterion])
            for name, line in self._lines().items()
            if not line["degenerate"] and math.isfinite(line[criterion])
        }
        if not values:
            why = "; ".join(f"{name}: {reason}" for name, reason in self.degenerate.items())
            none = f"no candidate has a {CRITERIA[criterion]} score"
            raise ValueError(f"{none} ({why})" if why else f"{none}: held_out needs folds, ICL a categorical latent")
        return (min if criterion in LOWER else max)(values, key=values.__getitem__)

    def winners(self) -> dict[str, str]:
        """The best candidate by each criterion that there is, but for AIC, by its name in `frame()`."""
        allowed = [line for line in self._lines().values() if not line["degenerate"]]
        there = [c for c in CRITERIA if c != "aic" and any(math.isfinite(line[c]) for line in allowed)]
        return {criterion: self.best(criterion) for criterion in there}

    def doubtful(self) -> list[str]:
        """The candidates whose best optimum was found by one restart of several: there may be a better one."""
        return [name for name, line in self._lines().items() if line["best_found"] == 1 < line["restarts"]]

    def plot(self, criterion: str | None = None) -> Any:
        """A matplotlib figure: the criteria that there are, or one, of each candidate, as distances from the best.
        Names that end in K=1, K=2, ... are drawn against K, one line for those that begin alike."""
        return upward("Selection.plot")(self, criterion)

    def __str__(self) -> str:
        return upward("Selection.__str__")(self)

    def _lines(self) -> dict[str, dict[Any, Any]]:
        """The table by name."""
        return dict(zip(map(str, self._table.index), self._table.to_dict("records"), strict=True))
