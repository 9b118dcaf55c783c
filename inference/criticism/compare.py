"""`compare`: fits of any models by any engines on one scale, nats, over the same rows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ...data.input_checks import counted
from ...data.model_abilities import remembered_schema
from ...data.rows import as_rows
from ...models import Rows
from ...models.abilities import takes_missing
from ...models.random_state import random_state_kept
from ..fitting.fit_result import Fit
from ..fitting.result_checks import require_made_by
from .bayesian_scores import bayesian_scores
from .comparison import Comparison
from .density_or_probability import column_measures, require_one_measure
from .distances_between_fits import pair_distances
from .fit_scores import fit_scores
from .rows_of_models import require_one_coding


def compare(x: Any, *, weights: Any = None, held_out: Any = None, **fits: Fit) -> Comparison:
    """Score fits on the rows of x: sum_i w_i log p(x_i), the ELBO and the gap between them, BIC, and held-out rows.

    Every fit is scored on the same rows, in nats, whatever its model and its engine.

    Args:
        x: (n, d) table, as `fit` takes it: the training rows or others.
        weights: (n,) row weights, or None for weights of 1.
        held_out: (m, d) rows that no fit was trained on, or None. Their mean log p(x) ranks models of any size.
        **fits: What `fit` returned, each under a name of your choice: `compare(x, em=fit_em, svi=fit_svi)`.

    Returns:
        A `Comparison`: print it, or take its numbers from `frame()` and `pairs()`.

    Raises:
        TypeError: An entry of `fits` is no `Fit`.
        ValueError: There are no fits, the columns of the tables do not match, x has missing values that a model does
            not take, or the fits measure a column in different ways: a probability and a density cannot be ranked.

    Example:
        >>> from lowerbound.inference import EM, compare, fit
        >>> from lowerbound.models import GaussianMixture
        >>> x = [[0.0], [0.2], [1.0], [4.0], [5.0]]
        >>> fits = {f"k{k}": fit(GaussianMixture(k, 1, "tied"), x, EM(), restarts=2) for k in (1, 2)}
        >>> compare(x, **fits).frame()["log_likelihood"].round(2).to_dict()
        {'k1': -10.71, 'k2': -6.58}
    """
    with random_state_kept():  # a table that draws its rows must not move the caller's random state
        return _compare(x, weights, held_out, fits)


def require_no_missing_values(models: Mapping[str, Any], rows: Rows) -> None:
    """Raise ValueError if values are missing and one of the models does not take missing values."""
    unable = [name for name, model in models.items() if not takes_missing(model)]
    if unable and rows.gaps.cells:
        raise ValueError(
            f"{rows.gaps.first}, and {unable[0]}, a {type(models[unable[0]]).__name__}, does not take missing values: "
            "use complete rows, such as x.dropna(), or leave this model out"
        )


def require_same_columns(models: Mapping[str, Any], rows: Rows) -> None:
    """Raise ValueError if a model knows some of the columns of these rows by name, but not all, or others as well."""
    for name, model in models.items():
        own, columns = remembered_schema(model), set(rows.columns if rows.schema else ())
        if own and columns & set(own.columns) and columns != set(own.columns):
            raise ValueError(
                f"{name} has columns {', '.join(own.columns)}, expected {', '.join(rows.columns)} as the others have: "
                "densities of different columns cannot be ranked"
            )


def _compare(x: Any, weights: Any, held_out: Any, fits: dict[str, Fit]) -> Comparison:
    if not fits:
        raise ValueError("got no fits, expected some by name: compare(x, em=fit(...), svi=fit(...))")
    require_made_by("fit()", Fit, **fits)
    leader = next((name for name, entry in fits.items() if takes_missing(entry.model)), next(iter(fits)))
    first = fits[leader].model
    require_one_coding({name: remembered_schema(entry.model) for name, entry in fits.items()})
    rows = as_rows(x, weights, model=first)
    require_same_columns({name: entry.model for name, entry in fits.items()}, rows)
    for name, entry in fits.items():
        if rows.conformed(entry.model).schema != rows.schema:
            raise ValueError(
                f"{name} was fitted to columns or categories in another order than {leader}, expected fits to one table"
            )
    require_no_missing_values({name: entry.model for name, entry in fits.items()}, rows)
    require_one_measure({name: column_measures(entry.model, rows) for name, entry in fits.items()}, rows)
    others = None if held_out is None else as_rows(held_out, model=first if rows.schema is None else rows)
    if others is not None and others.features != rows.features:
        raise ValueError(f"held_out has {counted(others.features, 'column')}, expected {rows.features}, as x has")
    of_posteriors = bayesian_scores(fits, rows)
    scores = pd.DataFrame(
        [fit_scores(entry, rows, others) | of_posteriors[name] for name, entry in fits.items()],
        index=pd.Index(fits, name="fit"),
    )
    pairs = [
        {"first": a, "second": b, **pair_distances(fits[a].model, fits[b].model, rows)}
        for a, b in itertools.combinations(fits, 2)
    ]
    columns = ["first", "second", "parameter_distance", "posterior_kl"]
    return Comparison(rows, dict(fits), scores, pd.DataFrame(pairs, columns=columns))
