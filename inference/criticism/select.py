"""Which model, and how many components: candidates on one table, by what they cost and by what they foresee."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import torch

from ...data.rows import as_rows
from ...models import Collapse, LatentModel, Rows
from ...models.abilities import takes_missing
from ..engines.contract import Engine
from ..engines.em import EM
from ..fitting.fit import fit
from ..fitting.fit_result import Fit
from ..fitting.progress import counter
from .compare import measures, require_one_measure, require_whole
from .information_criteria import cross_validated, densities, score
from .selection import Selection


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
