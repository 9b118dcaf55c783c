"""`to_arviz`: a fit as ArviZ reads it: draws of the parameters, log-likelihoods and replicated data, with names."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch

from ...data.rows import as_rows
from ...models import BayesianMixture, KMeans, Mixture
from ...models.random_state import fixed_seed
from ..fitting.fit_result import Fit
from ..fitting.result_checks import require_made_by
from .arviz_dimensions import Arrays, Dimensions
from .bootstrap import Bootstrap, bootstrap
from .mixture_draws import (
    as_posterior_names,
    bootstrap_views,
    posterior_draws,
    replicated_tables,
    shared_parameters,
)
from .pointwise_log_likelihood import pointwise_log_likelihood

RESAMPLES = 100  # of a bootstrap, by default


def to_arviz(
    fit: Fit | BayesianMixture,
    x: Any,
    *,
    weights: Any = None,
    labels: Any = None,
    draws: int | None = None,
    chains: int | None = None,
    seed: int = 0,
    posterior_predictive: bool = True,
    resamples: Bootstrap | None = None,
) -> Any:
    """Draws of the parameters, log-likelihoods and replicated data for `arviz.summary`, `loo`, `compare` and plots.

    Draws of a `BayesianMixture` are draws of q, or those that its sampler made. Those of a `Mixture` are estimates of a
    Bayesian bootstrap (`bootstrap(fit, x, bayesian=True)`), which stand in for a posterior and give no row of x the
    density 0. The groups of the result:

    - posterior: parameters by name, with the dimensions component, feature and feature_other (columns of x; feature_g
      for group g of a `Product`) and level, which carry the names of columns and categories of x. Labels of components
      may switch from draw to draw. Not affected by switching are sorted_weights (largest first), and mixture_mean and
      mixture_sd: mean and standard deviation of each column under the mixture, in its units, where they are finite.
    - log_likelihood: w_i log p(x_i | theta) in nats, z summed out; log p(x_i, label_i | theta) for rows with labels.
      Dimensions (chain, draw, row), with rows of positive weight by their number in x.
    - posterior_predictive: one table drawn at each draw of the parameters, (chain, draw, row, feature).
    - observed_data: x, NaN where a value is missing.

    Kumar, Carroll, Hartikainen & Martin, ArviZ, Journal of Open Source Software 4 (2019), 1143.

    Args:
        fit: A fit of a `BayesianMixture` or a `Mixture`, or a `BayesianMixture`.
        x: (n, d) rows of the fit.
        weights: (n,) row weights of the fit, or None.
        labels: (n,) labels of the fit, -1 where unknown, or None.
        draws: Draws in each chain, 250 by default; for a `Mixture`, the number of resamples, 100 by default. A sampler
            has its own number.
        chains: The number of chains, 4 by default. 1 for a `Mixture`. A sampler has its own number.
        seed: The same seed gives the same numbers.
        posterior_predictive: Whether to draw tables.
        resamples: What `bootstrap(fit, x)` returned, for a `Mixture`, instead of a new bootstrap.

    Returns:
        An `InferenceData` with ArviZ 0, an xarray `DataTree` with ArviZ 1.

    Raises:
        TypeError: The model is neither a `BayesianMixture` nor a `Mixture`, or its q is a point.
        ValueError: `draws` or `chains` is below 1 or not the sampler's own, or `resamples` came with a model that has a
            posterior.

    Example:
        >>> from lowerbound.inference import EM, fit, to_arviz
        >>> from lowerbound.models import BayesianMixture, Poisson
        >>> x = [[3.0], [5.0], [2.0]]
        >>> data = to_arviz(fit(BayesianMixture(Poisson(1, 1)), x, EM()), x, draws=10)
        >>> data["log_likelihood"]["x"].shape
        (4, 10, 3)
    """
    model: Any = fit.model if isinstance(fit, Fit) else fit
    if resamples is not None:
        require_made_by("bootstrap()", Bootstrap, resamples=resamples)
    rows = as_rows(x, weights, labels, model) if isinstance(model, Mixture) else None
    for name, value in (("draws", draws), ("chains", chains)):
        if not (value is None or (isinstance(value, Integral) and value >= 1)):
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
    if isinstance(model, BayesianMixture):
        if resamples is not None:
            raise ValueError("got resamples of a BayesianMixture, expected none: it has a posterior")
        if model.is_point:
            raise TypeError(
                "q is the point of an AutoDelta, which has no draws, expected a distribution: fit "
                "BayesianMixture(family), or another guide"
            )
        theta, chains = posterior_draws(model, draws, chains, seed)
        views = model.views(theta)
        # not model.beliefs.likelihood: without parameters, families such as Poisson do not know their size
        family, shared = views[0][0], model.beliefs.shared
    elif isinstance(fit, Fit) and isinstance(model, Mixture) and not isinstance(model, KMeans):
        if chains not in (None, 1):
            raise ValueError(f"chains is {chains}, expected 1: bootstrap estimates are one chain")
        if resamples is None:
            resamples = bootstrap(fit, x, draws or RESAMPLES, weights, labels, seed, bayesian=True)
        views = list(bootstrap_views(model, resamples.draws))
        theta, chains = as_posterior_names(resamples.draws), 1
        theta.setdefault("weights", torch.stack([log_weights.exp() for _, log_weights in views]))
        family, shared = model.family, shared_parameters(model.family)
    else:
        raise TypeError(
            f"got {'a fit of ' if isinstance(fit, Fit) else ''}{type(model).__name__}, expected a fit of a "
            "BayesianMixture or a Mixture: others have no draws of their parameters"
        )
    assert rows is not None
    chunks = list(rows.chunks())  # read once: a Dataset may draw its rows
    observed = torch.cat([chunk.x for chunk in chunks]).numpy()
    dimensions = Dimensions(family, rows, shared)
    dimensions.coords["row"] = torch.cat([torch.as_tensor(chunk.numbers) for chunk in chunks]).numpy()
    arrays = {name: (dimensions.of_parameter(name, value[0]), value.detach().numpy()) for name, value in theta.items()}
    arrays["sorted_weights"] = (("place",), theta["weights"].sort(-1, descending=True).values.numpy())
    log_likelihood = torch.stack([pointwise_log_likelihood(view, chunks) for view in views])
    if impossible := int((log_likelihood == -torch.inf).sum()):
        warnings.warn(
            f"{impossible} of {log_likelihood.numel()} log-likelihoods are -inf, because some draws give a row the "
            "density 0, and arviz.loo of them is NaN: leave resamples out, or pass bootstrap(fit, x, bayesian=True)",
            stacklevel=2,
        )
    groups: dict[str, Arrays] = {
        "posterior": arrays | dimensions.column_moments(views),
        "log_likelihood": {"x": (("row",), log_likelihood.numpy())},
    }
    if posterior_predictive:
        with fixed_seed(seed):
            tables = replicated_tables(views, len(observed))
        groups["posterior_predictive"] = {"x": (("row", "feature"), tables.numpy())}
    return _assembled(groups, observed, dimensions.coords, chains)


def import_arviz() -> Any:
    """ArviZ. Imported late, because it takes seconds, and without the warning by 0.23 that announces its successor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz


def _assembled(groups: dict[str, Arrays], observed: np.ndarray, coords: Mapping[str, Any], chains: int) -> Any:
    """The groups as ArviZ holds them: made of xarray datasets, which versions 0 and 1 both take."""
    arviz = import_arviz()
    import xarray

    def dataset(arrays: Arrays, lead: tuple[str, ...] = ("chain", "draw")) -> Any:
        used = {dim for dims, _ in arrays.values() for dim in dims}
        size = {} if not lead else {"chain": chains, "draw": len(next(iter(arrays.values()))[1]) // chains}
        own = {name: np.arange(length) for name, length in size.items()}
        shaped = {
            name: ((*lead, *dims), values.reshape(*size.values(), *values.shape[1:]) if lead else values)
            for name, (dims, values) in arrays.items()
        }
        return xarray.Dataset(shaped, own | {name: value for name, value in coords.items() if name in used})

    made = {name: dataset(arrays) for name, arrays in groups.items()}
    made["observed_data"] = dataset({"x": (("row", "feature"), observed)}, ())
    old = "InferenceData" in vars(arviz)  # hasattr would make ArviZ 1 warn
    return arviz.InferenceData(**made) if old else xarray.DataTree.from_dict(made)
