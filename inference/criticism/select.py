"""`select`: which model, and how many components: candidates fitted to one table, by criteria and cross-validation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from ...data.seeds import require_seed
from ...models import Collapse, LatentModel, Rows
from ...models.random_state import random_state_kept
from ..engines.contract import Engine
from ..engines.em import EM
from ..fitting.fit import fit
from ..fitting.fit_arguments import counts_rows, require_engine, require_model
from ..fitting.fit_result import Fit
from ..fitting.progress import counter
from .candidate_scores import add_cross_validation, candidate_scores, log_densities
from .compare import require_no_missing_values, require_same_columns
from .density_or_probability import column_measures, require_one_measure
from .rows_of_models import rows_of_models
from .selection import Selection

COLUMNS = [
    "log_likelihood", "log_likelihood_error", "free_parameters", "bic", "icl", "aic", "bound", "entropy", "held_out",
    "held_out_error", "behind", "behind_error", "best_found", "restarts", "collapsed", "converged", "seconds",
    "fewest_rows", "degenerate",
]  # fmt: skip


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
    least_rows: float | None = None,
) -> Selection:
    """Fit every candidate to x and score it by BIC = -2 log L + p log n, ICL, AIC and cross-validation.

    A candidate with a posterior over its parameters is scored by its bound of log p(all rows) and cross-validation. A
    candidate that collapses, or that cannot be fitted to these rows, is an entry of `Selection.degenerate`, not an
    error.

    Args:
        x: (n, d) table, as `fit` takes it.
        models: Unfitted models by name, such as `{f"K={k}": GaussianMixture(k, 2) for k in range(1, 6)}`, or a sequence
            of models, whose names are then their `repr`.
        engine: The engine that fits them, such as `EM()`.
        weights: (n,) row weights, or None.
        labels: (n,) known components, -1 where unknown, or None.
        restarts: Random starts of each fit; the best is kept.
        folds: The number of parts that the rows are split into at random, the same for all candidates. Each part is
            scored by a fit, again the best of `restarts`, to the other parts. None for no cross-validation.
        max_passes: Passes over the rows after which a fit stops.
        seed: The same seed gives the same numbers.
        progress: Whether to show a counter of fits.
        least_rows: Leave out restarts that end with a component of fewer rows than this, as `fit` does; a candidate
            whose weights do not say how many rows a component holds takes all its restarts.

    Returns:
        A `Selection`: print it, or take `frame()`, `best()` and the fits by name.

    Raises:
        ArithmeticError, ValueError, TypeError: No candidate can be fitted; this is the error of the first.
        TypeError: A candidate is not a model, such as a fit or a class, or the engine is none.
        ValueError: There are no models, two have the same name, `folds` is no number from 2 to n, x has missing values
            that a candidate does not take, or candidates measure a column in different ways: a probability and a
            density cannot be ranked.

    Example:
        >>> from lowerbound.inference import select
        >>> from lowerbound.models import GaussianMixture
        >>> x = [[0.0], [0.2], [0.4], [9.0], [9.3], [9.5]]
        >>> models = {f"K={k}": GaussianMixture(k, 1, "tied") for k in (1, 2)}
        >>> select(x, models, restarts=2, folds=None).best("bic")
        'K=2'
    """
    candidates = _named(models)
    require_engine(engine)
    for model in candidates.values():
        require_model(model)
    rows = rows_of_models(x, weights, labels, candidates)
    require_same_columns(candidates, rows)
    require_no_missing_values(candidates, rows)
    parts = _folds(rows, folds, require_seed(seed))
    options: dict[str, Any] = {"restarts": restarts, "max_passes": max_passes, "seed": seed}
    fits: dict[str, Fit] = {}
    degenerate: dict[str, str] = {}
    scores: dict[str, dict[str, Any]] = {}
    held_out: dict[str, np.ndarray] = {}
    measures: dict[str, list[str]] = {}
    impossible: Exception | None = None
    with random_state_kept(), counter(progress, len(candidates) * (1 + len(parts))) as count:
        for name, model in candidates.items():
            began = time.perf_counter()
            own: dict[str, Any] = options | ({"least_rows": least_rows} if counts_rows(model) else {})
            try:
                fitted = fit(model, rows, engine, **own)
            except (ArithmeticError, ValueError, TypeError) as error:  # this candidate; others may be possible
                degenerate[name] = str(error.args[0] if isinstance(error, Collapse) else error)
                collapsed = restarts if isinstance(error, Collapse) else 0
                scores[name] = {"collapsed": collapsed, "best_found": 0, "seconds": time.perf_counter() - began}
                impossible = impossible or (None if collapsed else error)
                count(name, 1 + len(parts))
                continue
            count(name, 1)
            fits[name], own_rows = fitted, rows.conformed(fitted.model)
            measures[name] = column_measures(fitted.model, own_rows)
            require_one_measure(measures, rows)
            scores[name] = candidate_scores(fitted, own_rows)
            try:
                held_out[name] = _cross_validate(model, parts, engine, own, lambda name=name: count(name, 1))
            except _FoldFailure as failure:
                degenerate[name] = str(failure)
            scores[name]["seconds"] = time.perf_counter() - began
    if impossible is not None and not any(line["collapsed"] or name in fits for name, line in scores.items()):
        raise impossible  # none can be fitted: what is wrong is not the candidate
    table = pd.DataFrame.from_dict(scores, orient="index", columns=COLUMNS).rename_axis("candidate")
    table["degenerate"] = [degenerate.get(name, "") for name in scores]
    table["restarts"] = restarts
    numbers = [name for name in COLUMNS if name not in ("converged", "degenerate")]
    table = table.astype(dict.fromkeys(numbers, float) | {"best_found": int, "collapsed": int, "restarts": int})
    table["converged"] = table["converged"].fillna(False).astype(bool)
    if parts:
        add_cross_validation(table, held_out, rows)
    return Selection(rows, fits, degenerate, table)


def _named(models: Any) -> dict[str, Any]:
    if not isinstance(models, Iterable):
        raise TypeError(
            f"models is a {type(models).__name__}, expected models by name, {{name: model, ...}}, or a list"
        )
    pairs = list(models.items()) if isinstance(models, Mapping) else [(repr(model), model) for model in models]
    names = [str(name) for name, _ in pairs]
    if not pairs:
        raise ValueError('got no models, expected some by name: select(x, {"K=1": GaussianMixture(1, 2), ...})')
    if len(set(names)) < len(names):
        raise ValueError("some models have the same name, expected different names: pass {name: model, ...}")
    return dict(zip(names, (model for _, model in pairs), strict=True))


class _FoldFailure(Exception):
    """The fit to the rows outside a fold failed."""


def _cross_validate(
    model: Any,
    parts: list[tuple[Rows, Rows]],
    engine: Engine,
    options: dict[str, Any],
    done: Callable[[], None],
) -> np.ndarray:
    """log p(x) of each row under the fit that left it out. `done` is called after each fit."""
    found = np.zeros(len(parts[0][0]) if parts else 0)
    for number, (others, own) in enumerate(parts, 1):
        try:
            fitted = fit(model, others, engine, **options)
        except (ArithmeticError, ValueError) as error:  # because of these rows: the fit to all rows succeeded
            raise _FoldFailure(f"without the rows of fold {number}, {error.args[0]}") from error
        finally:
            done()
        for numbers, values, _ in log_densities(fitted.model, own.conformed(fitted.model)):
            found[numbers] = values
    return found


def _folds(rows: Rows, folds: int | None, seed: int) -> list[tuple[Rows, Rows]]:
    """For each fold, the table of the other rows and that of its own rows: the rows left out have weight 0."""
    if folds is None:
        return []
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights.numpy()
    some = np.flatnonzero(weights > 0)
    if not isinstance(folds, Integral) or not 2 <= folds <= len(some):
        raise ValueError(
            f"folds is {folds!r}, expected None or a whole number from 2 to {len(some)}, the rows of positive weight"
        )
    fold = np.full(len(rows), -1)
    fold[np.random.default_rng(seed).permutation(some)] = np.arange(len(some)) % folds
    return [(rows.weighted(weights * (fold != f)), rows.weighted(weights * (fold == f))) for f in range(folds)]
