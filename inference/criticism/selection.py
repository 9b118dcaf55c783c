"""`Selection`, what `select` returns: candidates that were fitted to the same rows, and which is best."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...models import Rows
from ..fitting.fit_result import Fit
from ..upward import upward

# by the columns of `Selection.frame`: their names in tables
CRITERIA = {"bic": "BIC", "icl": "ICL", "bound": "bound of log evidence", "held_out": "held out", "aic": "AIC"}
SIZED = re.compile(r"(.*?)([0-9]+)")  # a name and the number of components or dimensions at its end
LOWER = ("bic", "icl", "aic")  # criteria of which the lower is better


@dataclass(frozen=True)
class Selection:
    """Candidates fitted to the same rows: what `select` returns.

    `str()` is a table for readers, `frame()` holds its numbers.

    Attributes:
        x: The rows.
        fits: The fits to all rows by name, without candidates of which every restart collapsed.
        degenerate: By name, why a candidate cannot be the best: every restart collapsed, on all rows or on those
            outside some fold, or it cannot be fitted to these rows at all (see `impossible`).

    Example:
        >>> from lowerbound.inference import select
        >>> from lowerbound.models import GaussianMixture
        >>> x = [[0.0], [0.2], [0.4], [9.0], [9.3], [9.5]]
        >>> models = {f"K={k}": GaussianMixture(k, 1, "tied") for k in (1, 2)}
        >>> selection = select(x, models, restarts=2, folds=None)
        >>> selection.winners()
        {'bic': 'K=2', 'icl': 'K=2'}
        >>> selection.frame()["free_parameters"].to_dict()
        {'K=1': 2.0, 'K=2': 4.0}
    """

    x: Rows
    fits: dict[str, Fit]
    degenerate: dict[str, str]
    _table: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """The scores, one row per candidate. NaN marks what a candidate does not have.

        With n the sum of the row weights and p the free parameters:

        Returns:
            A copy of the table, indexed by the names of the candidates, with the columns

            - log_likelihood: sum_i w_i log p(x_i) in nats, given the labels if there are some. log_likelihood_error:
              its standard error where it is estimated by draws of z, else 0.
            - free_parameters: p.
            - bic = -2 log_likelihood + p log n, aic = -2 log_likelihood + 2 p, icl = bic + 2 n entropy, which is minus
              twice the ICL-BIC of Biernacki, Celeux & Govaert (IEEE TPAMI 22, 2000) with the entropy of the soft
              assignments. Lower is better.
            - bound: for a model with a posterior over its parameters, instead of these three: the lower bound of
              log p(all rows) in nats, summed over all relabellings. Higher is better.
            - entropy: the mean entropy of p(z | x) in nats per row, 0 where every assignment is certain.
            - held_out, held_out_error: mean log p(x) in nats per row of the rows left out in turn, and its standard
              error over rows. Higher is better.
            - behind, behind_error: how far held_out is below that of the best candidate, and the standard error of this
              difference, with rows paired.
            - best_found: how many of the `restarts` reached the best optimum. collapsed: how many reached a
              singularity.
            - fewest_rows: of a component of the best fit.
            - converged; seconds, of all fits of the candidate; degenerate: why it cannot be the best or be fitted, or
              "".
        """
        return self._table.copy()

    def best(self, criterion: str | None = None) -> str:
        """The name of the best candidate that is not degenerate.

        Args:
            criterion: "bic", "icl" or "aic" (lowest), "bound" or "held_out" (highest). None for "bic", or for "bound"
                if no candidate has a BIC.

        Returns:
            A key of `fits`.

        Raises:
            ValueError: There is no such criterion, or no candidate has a score by it.
        """
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
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.degenerate.items())
            none = f"no candidate has a {CRITERIA[criterion]} score"
            raise ValueError(f"{none} ({reasons})" if reasons else f"{none}: held_out needs folds, ICL a categorical z")
        return (min if criterion in LOWER else max)(values, key=values.__getitem__)

    def winners(self) -> dict[str, str]:
        """The best candidate by each criterion, except AIC, that some candidate has a score of.

        Returns:
            Names of candidates, by the names of criteria in `frame()`.
        """
        allowed = [line for line in self._lines().values() if not line["degenerate"]]
        present = [c for c in CRITERIA if c != "aic" and any(math.isfinite(line[c]) for line in allowed)]
        return {criterion: self.best(criterion) for criterion in present}

    @property
    def impossible(self) -> dict[str, str]:
        """By name, why a candidate cannot be fitted to these rows: those of `degenerate` that did not collapse.

        Example:
            >>> from lowerbound.inference import select
            >>> from lowerbound.models import BernoulliMixture
            >>> models = {f"K={k}": BernoulliMixture(k, 1) for k in (1, 3)}
            >>> print(select([[0], [1], [1]], models, restarts=1, folds=None).impossible["K=3"][:33])
            the data have 2 distinct rows (of
        """
        lines = self._lines()
        return {n: why for n, why in self.degenerate.items() if n not in self.fits and not lines[n]["collapsed"]}

    def doubtful(self) -> list[str]:
        """The candidates whose best optimum only one of several restarts reached: there may be a better one.

        Returns:
            Names of candidates. Fit them again with more restarts.
        """
        return [name for name, line in self._lines().items() if line["best_found"] == 1 < line["restarts"]]

    def spurious(self) -> dict[str, str]:
        """The candidates whose best optimum may be spurious: a component rests on few rows, or is thin.

        Returns:
            What is doubtful about each (`Fit.doubts`), by name. Fit them again with `least_rows`, or with a prior.
        """
        return {name: "; ".join(fit.doubts) for name, fit in self.fits.items() if fit.doubts}

    def at_edge(self) -> dict[str, str]:
        """The best candidates at the edge of the sizes that were tried: a size beyond may be better.

        Sizes are read from names that end in a number, such as "full, K=4" or "latent 3". A size of 1 is no edge.

        Returns:
            By the name of the candidate "largest" or "smallest".
        """
        edges = {name: self._edge(name) for name in dict.fromkeys(self.winners().values())}
        return {name: edge for name, edge in edges.items() if edge}

    def plot(self, criterion: str | None = None) -> Any:
        """The criteria of each candidate as distances from the best.

        Names that end in K=1, K=2, ... are drawn against K, with one line for names that begin alike.

        Args:
            criterion: One of the criteria of `best`, or None for all that some candidate has.

        Returns:
            A matplotlib figure, made without pyplot.
        """
        return upward("Selection.plot")(self, criterion)

    def __str__(self) -> str:
        return upward("Selection.__str__")(self)

    def _edge(self, name: str) -> str:
        """Whether a candidate is the "largest" or "smallest" of several of its kind that were tried; else ""."""
        sized = {each: match for each in self._lines() if (match := SIZED.fullmatch(each))}
        if name not in sized:
            return ""
        others = [int(match[2]) for each, match in sized.items() if match[1] == sized[name][1] and each != name]
        size = int(sized[name][2])
        if others and size > max(others):
            return "largest"
        return "smallest" if others and 1 < size < min(others) else ""

    def _lines(self) -> dict[str, dict[Any, Any]]:
        """The table by name."""
        return dict(zip(map(str, self._table.index), self._table.to_dict("records"), strict=True))
