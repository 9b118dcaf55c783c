"""Which model, and how many components: candidates on one table, by what they cost and by what they foresee."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..models import Collapse, LatentModel, Rows
from ..models.rows import as_rows, takes_missing
from .compare import measures, require_one_measure, require_whole
from .criteria import cross_validated, densities, score
from .em import EM
from .fit import Fit, fit
from .progress import counter
from .restart import Engine

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
        from .plots.selection import selection_figure

        return selection_figure(self, criterion)

    def __str__(self) -> str:
        from .selection_text import text

        return text(self)

    def _lines(self) -> dict[str, dict[Any, Any]]:
        """The table by name."""
        return dict(zip(map(str, self._table.index), self._table.to_dict("records"), strict=True))


def select(
    x: Any,
    models: Mapping[str, LatentModel] | Sequence[LatentModel],
    engine: Engine = EM(),  # noqa: B008  (frozen)
    *,
    weights: Any = None,
    labels: Any = None,
    restarts: int = 10,
    folds: int | None = 5,
    max_passes: int = 500,
    seed: int = 0,
    progress: bool = False,
) -> Selection:
    """Fit every candidate to x and score it by BIC, ICL, AIC and cross-validation; one with a posterior over its
    parameters by its bound of log p(all rows) and cross-validation.

    x, weights, labels, restarts, max_passes, seed: as `fit` takes them. models: unfitted models by name, such as
    {f"{c}, K={k}": GaussianMixture(k, 2, c) for c in ("full", "tied") for k in range(1, 6)}, or a sequence of them,
    which are then called what they are made by. folds: how many parts the rows are shared out to, at random, the same
    for all candidates; each is scored by a fit to the others, again the best of `restarts`. None leaves that out.

    Raises ValueError, in one sentence, for candidates of different measures, which cannot be ranked: a probability and
    a density; and for one that takes no missing cells where there are some. A candidate that collapses is an entry of
    `degenerate`, no error.
    """
    candidates = _named(models)
    first = next((model for model in candidates.values() if takes_missing(model)), next(iter(candidates.values())))
    rows = as_rows(x, weights, labels, first)
    require_whole(candidates, rows)
    parts = _folds(rows, folds, seed)
    options: dict[str, Any] = {"restarts": restarts, "max_passes": max_passes, "seed": seed}
    fits: dict[str, Fit] = {}
    degenerate: dict[str, str] = {}
    scores: dict[str, dict[str, Any]] = {}
    unseen: dict[str, np.ndarray] = {}
    found: dict[str, list[str]] = {}
    with torch.random.fork_rng(devices=[]), counter(progress, len(candidates) * (1 + len(parts))) as count:
        for name, model in candidates.items():
            began = time.perf_counter()
            try:
                fitted = fit(model, rows, engine, **options)
            except Collapse as collapse:
                degenerate[name] = collapse.args[0]
                scores[name] = {"collapsed": restarts, "best_found": 0, "seconds": time.perf_counter() - began}
                count(name, 1 + len(parts))
                continue
            count(name, 1)
            fits[name] = fitted
            found[name] = measures(fitted.model, rows)
            require_one_measure(found, rows)
            scores[name] = score(fitted, rows)
            foreseen = np.zeros(len(rows))
            for number, (others, part) in enumerate(parts, 1):
                try:
                    apart = fit(model, others, engine, **options)
                except (Collapse, ValueError) as error:  # of part of the rows, for all of them gave none
                    degenerate[name] = f"without the rows of fold {number}, {error.args[0]}"
                    break
                finally:
                    count(name, 1)
                for at, values, _ in densities(apart.model, part):
                    foreseen[at] = values
            else:
                unseen[name] = foreseen
            scores[name]["seconds"] = time.perf_counter() - began
    table = pd.DataFrame.from_dict(scores, orient="index", columns=COLUMNS).rename_axis("candidate")
    table["degenerate"] = [degenerate.get(name, "") for name in scores]
    table["restarts"] = restarts
    numbers = [name for name in COLUMNS if name not in ("converged", "degenerate")]
    table = table.astype(dict.fromkeys(numbers, float) | {"best_found": int, "collapsed": int, "restarts": int})
    table["converged"] = table["converged"].fillna(False).astype(bool)
    if parts:
        cross_validated(table, unseen, rows)
    return Selection(rows, fits, degenerate, table)


COLUMNS = [
    "log_likelihood", "log_likelihood_error", "free_parameters", "bic", "icl", "aic", "bound", "entropy", "held_out",
    "held_out_error", "behind", "behind_error", "best_found", "restarts", "collapsed", "converged", "seconds",
    "degenerate",
]  # fmt: skip


def _named(models: Any) -> dict[str, Any]:
    """The candidates by name."""
    pairs = list(models.items()) if isinstance(models, Mapping) else [(repr(model), model) for model in models]
    names = [str(name) for name, _ in pairs]
    if not pairs:
        raise ValueError('got no models, expected some by name: select(x, {"K=1": GaussianMixture(1, 2), ...})')
    if len(set(names)) < len(names):
        raise ValueError("some models have the same name, expected each once: give them names, {name: model, ...}")
    return dict(zip(names, (model for _, model in pairs), strict=True))


def _folds(rows: Rows, folds: int | None, seed: int) -> list[tuple[Rows, Rows]]:
    """For each fold the other rows, and its own: the same table with row weights of 0."""
    if folds is None:
        return []
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights.numpy()
    some = np.flatnonzero(weights > 0)
    if not isinstance(folds, Integral) or not 2 <= folds <= len(some):
        raise ValueError(
            f"folds is {folds!r}, expected None or a whole number from 2 to {len(some)}, the rows there are"
        )
    fold = np.full(len(rows), -1)
    fold[np.random.default_rng(seed).permutation(some)] = np.arange(len(some)) % folds
    return [(rows.weighted(weights * (fold != f)), rows.weighted(weights * (fold == f))) for f in range(folds)]
