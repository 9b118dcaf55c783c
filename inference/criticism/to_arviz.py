"""A fit as ArviZ reads it: draws of the parameters, log-likelihoods and replicated data, with names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...data.rows import as_rows
from ...models import BayesianMixture, KMeans, Mixture, Rows
from ...models.bayesian.parameter_sites import Theta
from ...models.families.family import Family
from ...models.random_state import fixed_seed
from ..fitting.fit_result import Fit
from .bootstrap import Bootstrap, bootstrap
from .pointwise import View, pointwise

CHAINS, DRAWS, RESAMPLES = 4, 250, 100  # by default: chains and draws of each; of a bootstrap, in one chain
Arrays = dict[str, tuple[tuple[str, ...], np.ndarray]]  # by name: dims, and values with draws on dim 0


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
    """posterior, log_likelihood, posterior_predictive and observed_data, for `arviz.summary`, `loo`, `compare`, ...:
    an `InferenceData` of ArviZ 0, an xarray `DataTree` of ArviZ 1.

    fit: of a `BayesianMixture`: chains (4) times draws (250) of q, independent ones in all chains; of a sampler its
    very draws. Of a `Mixture`: one chain of bootstrap estimates, a stand-in for a posterior; draws (100) is how many
    resamples are fitted, or resamples are those of `bootstrap(fit, x)`. x, weights, labels: those of the fit.

    posterior: parameters by their names, with dims component, feature and feature_other (the columns of x: ArviZ's
    plots have a dim called column of their own), of group g of a `Product` feature_g, and level, with the names and
    words of x. Labels of components may switch from draw to draw; not affected by it are sorted_weights (from the
    largest), mixture_mean and mixture_sd, of the columns under the whole mixture, in their units, where these are
    finite. log_likelihood: w_i log p(x_i | theta), z summed out, of labelled rows log p(x_i, label_i | theta), in nats,
    with dims (chain, draw, row); row: the number of a row in x, of those of positive weight. posterior_predictive: a
    table drawn anew at each draw, (chain, draw, row, feature). observed_data: x, NaN where missing.

    Kumar, Carroll, Hartikainen & Martin, Journal of Open Source Software 4 (2019), 1143. The same numbers for the same
    seed. Raises TypeError for other models, ValueError for what does not fit.
    """
    model: Any = fit.model if isinstance(fit, Fit) else fit
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
        theta, chains = _drawn(model, draws, chains, seed)
        family, shared = model.beliefs.likelihood, model.beliefs.shared
        views = model.views(theta)
    elif isinstance(fit, Fit) and isinstance(model, Mixture) and not isinstance(model, KMeans):
        if chains not in (None, 1):
            raise ValueError(f"chains is {chains}, expected 1: bootstrap estimates are one chain")
        if resamples is None:
            resamples = bootstrap(fit, x, draws or RESAMPLES, weights, labels, seed)
        views = list(_views_of(model, resamples.draws))
        theta, chains = _seen(resamples.draws), 1
        theta.setdefault("weights", torch.stack([log_weights.exp() for _, log_weights in views]))
        family, shared = model.family, _shared(model.family)
    else:
        raise TypeError(
            f"got {'a fit of ' if isinstance(fit, Fit) else ''}{type(model).__name__}, expected a fit of a "
            "BayesianMixture or a Mixture: others have no draws of their parameters"
        )
    assert rows is not None
    chunks = list(rows.chunks())  # once: a Dataset may draw its rows
    observed = torch.cat([chunk.x for chunk in chunks]).numpy()
    names = _Names(family, rows, shared)
    names.coords["row"] = torch.cat([torch.as_tensor(chunk.numbers) for chunk in chunks]).numpy()
    arrays = {name: (names.dims(name, value[0]), value.detach().numpy()) for name, value in theta.items()}
    arrays["sorted_weights"] = (("place",), theta["weights"].sort(-1, descending=True).values.numpy())
    groups: dict[str, Arrays] = {
        "posterior": arrays | names.moments(views),
        "log_likelihood": {"x": (("row",), torch.stack([pointwise(view, chunks) for view in views]).numpy())},
    }
    if posterior_predictive:
        with fixed_seed(seed):
            groups["posterior_predictive"] = {"x": (("row", "feature"), _replicated(views, len(observed)).numpy())}
    return _assembled(groups, observed, names.coords, chains)


def import_arviz() -> Any:
    """ArviZ, which takes seconds to import, and whose 0.23 warns of its own successor as it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz


def _assembled(groups: dict[str, Arrays], observed: np.ndarray, coords: Mapping[str, Any], chains: int) -> Any:
    """Groups as ArviZ has them. Made of xarray's datasets, which both of its forms take alike."""
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
    old = "InferenceData" in vars(arviz)  # ArviZ 1 warns of the very question whether it has one
    return arviz.InferenceData(**made) if old else xarray.DataTree.from_dict(made)


class _Names:
    """The dims of parameters, and their coords."""

    def __init__(self, family: Any, rows: Rows, shared: frozenset[str]):
        self.k, self.shared = family.components, shared
        names = rows.columns if rows.schema else [f"column {j}" for j in range(rows.features)]
        levels = rows.levels if rows.schema else [None] * rows.features
        groups = getattr(family, "columns", None)  # of a Product
        self.groups = {"": range(rows.features)} | {f"_{g}": own for g, own in enumerate(groups or ())}
        self.coords: dict[str, Any] = {
            "component": np.arange(self.k),
            "place": np.arange(self.k),
            "stick": np.arange(self.k - 1),
        }
        self.columns = np.array(list(map(str, names)))
        self.words: dict[str, Any] = {}
        for end, own in self.groups.items():
            self.coords[f"feature{end}"] = self.coords[f"feature_other{end}"] = self.columns[list(own)]
            each = {tuple(levels[j] or ()) for j in own}
            self.words[f"level{end}"] = list(map(str, each.pop())) if len(each) == 1 else []

    def dims(self, name: str, value: Tensor) -> tuple[str, ...]:
        """Those of a parameter, of which this is one draw."""
        if name in ("weights", "sticks"):
            return ("component",) if name == "weights" else ("stick",)
        lead = () if name in self.shared else ("component",)
        end = next((end for end in self.groups if end and name.endswith(end)), "")
        sizes, d = value.shape[len(lead) :], len(self.groups[end])
        if not sizes or sizes[0] != d or len(sizes) > 2:
            return (*lead, *(f"{name}_dim_{i}" for i in range(len(sizes))))
        if len(sizes) == 1:
            return (*lead, f"feature{end}")
        if sizes[1] == d and not name.startswith("probs"):
            return (*lead, f"feature{end}", f"feature_other{end}")
        words = self.words[f"level{end}"]
        self.coords[f"level{end}"] = np.array(words) if len(words) == sizes[1] else np.arange(sizes[1])
        return (*lead, f"feature{end}", f"level{end}")

    def moments(self, views: list[View]) -> Arrays:
        """Mean and standard deviation of the columns under the whole mixture, of columns where they are finite."""
        try:
            each = [_moments(*view) for view in views]
        except NotImplementedError:  # a distribution without moments
            return {}
        found: Arrays = {}
        for name, values in zip(("mixture_mean", "mixture_sd"), map(torch.stack, zip(*each, strict=True)), strict=True):
            kept = values.isfinite().all(0).numpy()
            dim = "feature" if kept.all() else f"{name}_feature"
            self.coords[dim] = self.columns[kept]
            if kept.any():
                found[name] = ((dim,), values.numpy()[:, kept])
        return found


@torch.no_grad()
def _moments(family: Family, log_weights: Tensor) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Mean and standard deviation of the columns, of a mixture: mean variance + variance of means."""
    moments, weights = family.moments(), log_weights.exp()
    mean = weights @ moments.mean
    variance = moments.covariance.diagonal(dim1=-2, dim2=-1) + (moments.mean - mean) ** 2
    return mean, (weights @ variance).sqrt()


@torch.no_grad()
def _replicated(views: list[View], n: int) -> Float[Tensor, "s n d"]:
    found = []
    for family, log_weights in views:
        z = torch.distributions.Categorical(logits=log_weights).sample((n,))
        found.append(family.component(z).sample().to(torch.float64))
    return torch.stack(found)


def _drawn(model: BayesianMixture, draws: int | None, chains: int | None, seed: int) -> tuple[Theta, int]:
    """Draws of q, and how many chains they are."""
    if not model.is_sampled:
        chains = CHAINS if chains is None else int(chains)
        return model.draw(chains * (DRAWS if draws is None else int(draws)), seed), chains
    size = model.q.size
    if (draws or size.draws, chains or size.chains) != (size.draws, size.chains):
        raise ValueError(
            f"got {draws} draws and {chains} chains, expected none: a sampler has drawn {size.draws} in each of "
            f"{size.chains} chains"
        )
    return model.q.theta, size.chains  # type: ignore[reportAttributeAccessIssue]


def _views_of(model: Mixture, draws: Mapping[str, Tensor]) -> Iterator[View]:
    """The mixture at each of the estimates of a bootstrap."""
    for i in range(len(next(iter(draws.values())))):
        own = {name.removeprefix("family."): value[i] for name, value in draws.items() if name.startswith("family.")}
        weights = draws["weights"][i] if "weights" in draws else model.weights.detach()
        yield model.family.at(own), weights.log()


def _seen(draws: Mapping[str, Tensor]) -> Theta:
    """Parameters as a `BayesianMixture` has them: covariances in place of their factors."""
    return {_renamed(n): v @ v.mT if n.endswith("scale_tril") else v for n, v in draws.items()}


def _renamed(name: str) -> str:
    """As a `BayesianMixture` calls it: loc of family.loc, loc_1 of family.parts.1.loc."""
    name = re.sub(r"^parts\.(\d+)\.(.*)$", r"\2_\1", name.removeprefix("family."))
    return name.replace("scale_tril", "covariance").replace(".", "_")


def _shared(family: Family) -> frozenset[str]:
    """The names of parameters that all components have in common."""
    parts = [(path, part) for path, part in family.named_modules() if isinstance(part, Family)]
    return frozenset(_renamed(f"{path}.{name}".lstrip(".")) for path, part in parts for name in part.shared)
