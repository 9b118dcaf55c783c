"""Whether columns of whole numbers are counts, categories or measurements: what they look like within components.

A first, rough fit gives the components. Within them each candidate has a BIC: its number of parameters times log n,
minus twice the expected log probability of the column given z. The candidates are probabilities of whole numbers, a
Gaussian that of the interval of length 1 around the number, so that they have one measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ...data.column_kinds import COUNT, ColumnKind, ColumnKinds
from ...data.rows import Rows
from ..families.bernoulli import Bernoulli
from ..families.categorical import Categorical
from ..families.family import Family
from ..families.gaussian import Gaussian
from ..families.negative_binomial import NegativeBinomial
from ..families.product import Product
from .mixture import Mixture

ROWS = 4096  # of the first fit
STARTS, SHORT, LONG = 4, 15, 30  # starts of the first fit, their passes, and those of the best one after that
LIGHT = 2.0  # rows that a component has at least to be counted
PREFERENCE = 10.0  # by so much BIC must a negative binomial beat the others: very strong evidence
NEAR = 0.2  # as far from 1 is the dispersion of measurements now and then by chance
NOT_FAR = ", near the 1 of Poisson counts: measurements may have it, too"
POISSON_RANGE = 1e8  # concentration from which a negative binomial is Poisson


def decide_counts(rows: Rows, kinds: ColumnKinds, components: int) -> ColumnKinds:
    """The kinds with "count" replaced: by "poisson", "negative-binomial", "gaussian" or "categorical".

    rows: the columns that are kept, of which the undecided ones hold numbers, the other ones numbers or codes.
    """
    x = rows.sample(torch.Generator().manual_seed(0), ROWS).x
    r = _responsibilities(x, kinds.kept, components)
    places = {each.name: j for j, each in enumerate(kinds.kept)}
    return ColumnKinds(
        _decided(each, x[:, places[each.name]].numpy(), r) if each.kind == COUNT else each for each in kinds
    )


def _responsibilities(x: torch.Tensor, kinds: Sequence[ColumnKind], components: int) -> Float[np.ndarray, "n k"]:
    """Those of a first fit, in which undecided columns are negative binomial and Gaussian ones independent."""
    rows = Rows(x, missing=True)
    best, best_bound = None, -np.inf
    for start in range(STARTS if components > 1 else 0):
        model = Mixture(_first_family(kinds, components))
        try:
            model.initialize(rows, None, torch.Generator().manual_seed(start))
            bound = _climb(model, x, SHORT)
        except (ArithmeticError, ValueError):  # a collapse, or fewer distinct rows than components
            continue
        if bound > best_bound:
            best, best_bound = model, bound
    if best is None:
        return np.ones((len(x), 1))
    try:
        _climb(best, x, LONG)
    except ArithmeticError:
        return np.ones((len(x), 1))
    return best.posterior(x).probs.numpy()


def _climb(model: Mixture, x: torch.Tensor, passes: int) -> float:
    """Passes of EM. Returns the last bound in nats."""
    bound = -np.inf
    for _ in range(passes):
        statistics = model.expect(x)
        bound = float(statistics.bound)
        model.maximize(statistics)
    return bound


def _first_family(kinds: Sequence[ColumnKind], components: int) -> Family:
    """A family of all columns in which nothing collapses."""
    groups: dict[str, list[int]] = {}
    for j, each in enumerate(kinds):
        kind = "categorical" if each.levels and each.kind != COUNT else each.kind
        groups.setdefault(kind if kind in ("categorical", "bernoulli", COUNT) else "gaussian", []).append(j)
    families: list[Family] = []
    for kind, group in groups.items():
        if kind == "categorical":
            families.append(Categorical(components, [len(kinds[j].levels or ()) for j in group], "weak"))
        elif kind == "bernoulli":
            families.append(Bernoulli(components, len(group), "weak"))
        elif kind == COUNT:
            families.append(NegativeBinomial(components, len(group)))
        else:
            families.append(Gaussian(components, len(group), "diag", "weak"))
    return Product(*families, columns=list(groups.values()))


def _decided(kind: ColumnKind, x: Float[np.ndarray, " n"], r: Float[np.ndarray, "n k"]) -> ColumnKind:
    """The kind of an undecided column of values x, by its BIC within the components."""
    seen = ~np.isnan(x)
    values, place = np.unique(x[seen], return_inverse=True)
    weights = np.stack([np.bincount(place, share) for share in r[seen].T])
    weights = weights[weights.sum(1) >= min(LIGHT, seen.sum())]
    size, mean = weights.sum(1), weights @ values / weights.sum(1)
    variance = np.array([w @ (values - m) ** 2 / n for w, m, n in zip(weights, mean, size, strict=True)])
    parts = list(zip(weights, mean, variance, strict=True))
    k, log_n = len(parts), np.log(seen.sum())
    bic = {
        "poisson": k * log_n - 2 * sum(w @ _poisson(values, m) for w, m, _ in parts),
        "negative-binomial": 2 * k * log_n
        - 2 * sum(_negative_binomial(values, w, m, v) for w, m, v in parts)
        + PREFERENCE,
        "gaussian": 2 * k * log_n - 2 * sum(w @ _gaussian(values, m, v) for w, m, v in parts),
    }
    if kind.levels is not None:  # few levels: counts or categories
        del bic["gaussian"]
        shares = [np.log(np.maximum(w / w.sum(), 1e-300)) for w, *_ in parts]
        bic["categorical"] = k * (len(values) - 1) * log_n - 2 * sum(
            w @ share for (w, *_), share in zip(parts, shares, strict=True)
        )
    best = min(bic, key=lambda name: bic[name])
    dispersion = size @ variance / max(size @ mean, 1e-300)
    ratio = f"variance / mean is {dispersion:.2g} within components" + (NOT_FAR if abs(dispersion - 1) <= NEAR else "")
    span = kind.reason.removeprefix("whole numbers, ")
    reasons = {
        "poisson": f"counts, {span}, that vary as Poisson counts do: {ratio}",
        "negative-binomial": f"whole numbers, {span}, that vary more than Poisson counts: {ratio}",
        "gaussian": f"whole numbers, {span}, that vary as measurements do: {ratio}",
        "categorical": f"{len(values)} different numbers, {span}, that do not vary as counts do",
    }
    levels = kind.levels if best == "categorical" else None
    return replace(kind, kind=best, reason=reasons[best], levels=levels)


def _poisson(x: Float[np.ndarray, " v"], mean: float) -> Float[np.ndarray, " v"]:
    from scipy.special import gammaln  # here, as below: scipy is slow to import

    return x * np.log(max(mean, 1e-300)) - mean - gammaln(x + 1)


def _gaussian(x: Float[np.ndarray, " v"], mean: float, variance: float) -> Float[np.ndarray, " v"]:
    """log probability of the interval of length 1 around x."""
    from scipy.special import ndtr

    scale = max(variance, 1e-3) ** 0.5
    z = (x - mean) / scale
    if scale > 3:
        return -0.5 * z**2 - np.log(scale * np.sqrt(2 * np.pi))
    return np.log(np.maximum(ndtr(z + 0.5 / scale) - ndtr(z - 0.5 / scale), 1e-300))


def _negative_binomial(
    x: Float[np.ndarray, " v"], weights: Float[np.ndarray, " v"], mean: float, variance: float
) -> float:
    """The largest sum of weights times log probability, over concentrations."""
    if variance <= mean or mean == 0:
        return float(weights @ _poisson(x, mean))
    from scipy.optimize import minimize_scalar
    from scipy.special import gammaln

    def loss(log_c: float) -> float:
        c = np.exp(log_c)
        log_prob = gammaln(x + c) - gammaln(c) - gammaln(x + 1) - c * np.log1p(mean / c) - x * np.log1p(c / mean)
        return -float(weights @ log_prob)

    found: Any = minimize_scalar(loss, bounds=(np.log(1e-3), np.log(POISSON_RANGE)), method="bounded")
    return -float(found.fun)
