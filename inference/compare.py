"""Fits of any models by any engines, on one scale: nats, of the same rows."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch.distributions import constraints, transform_to

from ..models import LatentModel, Rows
from ..models.rows import as_rows
from ..models.side_by_side import Columns
from .align import align
from .evaluate import EVALUATION_ROWS
from .fit import Fit
from .gap import elbo_gap
from .kl import kl


@dataclass(frozen=True)
class Comparison:
    """Fits side by side on the rows `x`. `str()` is the table a reader sees, `frame()` and `pairs()` its numbers."""

    x: Rows
    fits: dict[str, Fit]
    _scores: pd.DataFrame
    _pairs: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """One row per fit: log_likelihood, nats_per_row, elbo, gap (KL(q || posterior)), log_prior, in nats (NaN where
        the evidence has no closed form);
        free_parameters; bic = -2 log_likelihood + free_parameters log(sum of weights), lower is better; passes,
        seconds; converged, reason; gradient_norm, as in `Fit`."""
        return self._scores.copy()

    def pairs(self) -> pd.DataFrame:
        """One row per pair of fits, components aligned: parameter_distance, the largest difference of any parameter
        (probabilities as they are, locations in standard deviations of the data, scales in logarithms, rates of counts
        in standard deviations of a count), and
        posterior_kl, the mean over rows of KL(first's posterior || second's) in nats. NaN where labels do not match."""
        return self._pairs.copy()

    def plot(self) -> Any:
        """The matplotlib figures, by name: see `lowerbound.inference.plots.figures`."""
        from .plots import figures

        return figures(self)

    def report(self, out: str | Path) -> Path:
        """Write the tables and figures to the folder `out`, as `lowerbound compare` does; returns its index.html."""
        from .report import write_report

        return write_report(self, out, "lowerbound: " + " and ".join(self.fits))

    def __str__(self) -> str:
        from .text import text

        return text(self)


def compare(x: Any, *, weights: Any = None, **fits: Fit) -> Comparison:
    """Score fits on the rows of x, each under its own name: compare(x, em=fit_em, svi=fit_svi).

    x: (n, d) as `fit` takes it, the training rows or others. weights: (n,) or None. Raises ValueError if there is
    nothing to compare, if the columns do not match, or if the fits measure some column in different ways: a probability
    and a density cannot be ranked.
    """
    if not fits:
        raise ValueError("got no fits, expected some by name: compare(x, em=fit(...), svi=fit(...))")
    for name, entry in fits.items():
        if not isinstance(entry, Fit):
            raise TypeError(f"{name} is a {type(entry).__name__}, expected what fit() returns")
    first = next(iter(fits.values())).model
    rows = as_rows(x, weights, model=first)
    for name, entry in fits.items():
        if rows.conformed(entry.model) is not rows:
            raise ValueError(
                f"{name} was fitted to columns or categories in another order than {next(iter(fits))}, expected fits "
                "to one table"
            )
    _require_one_measure({name: measures(entry.model, rows) for name, entry in fits.items()}, rows)
    scores = pd.DataFrame([_score(entry, rows) for entry in fits.values()], index=pd.Index(fits, name="fit"))
    pairs = [
        {"first": a, "second": b, **_pair(fits[a].model, fits[b].model, rows)}
        for a, b in itertools.combinations(fits, 2)
    ]
    columns = ["first", "second", "parameter_distance", "posterior_kl"]
    return Comparison(rows, dict(fits), scores, pd.DataFrame(pairs, columns=columns))


def _require_one_measure(found: dict[str, list[str]], rows: Rows) -> None:
    """Raise ValueError, naming two fits and where they differ, unless all measure each column alike."""
    for (first, ours), (second, theirs) in itertools.combinations(found.items(), 2):
        differ = [j for j, pair in enumerate(zip(ours, theirs, strict=True)) if len(set(pair)) > 1]
        if not differ:
            continue
        where = "" if len(differ) == len(ours) else f" in column {rows.columns[differ[0]]!r}"
        raise ValueError(
            f"{first} gives {ours[differ[0]]} and {second} {theirs[differ[0]]}{where}, expected fits of one measure: "
            "their log-likelihoods are in different units and cannot be ranked"
        )


def _score(entry: Fit, rows: Rows) -> dict[str, Any]:
    model = entry.model
    log_likelihood = elbo = gap = 0.0
    for chunk in rows.chunks(EVALUATION_ROWS):
        weights = torch.ones(len(chunk.x), dtype=torch.float64) if chunk.weights is None else chunk.weights
        elbo += float(model.bound(chunk.x).double() @ weights)
        try:
            parts = elbo_gap(model, chunk.x)
        except TypeError:  # a continuous latent: only the bound is known, not what it bounds
            log_likelihood = gap = math.nan
            continue
        log_likelihood += float(parts.evidence @ weights)
        gap += float(parts.kl @ weights)
    parameters = model.free_parameters()
    return {
        "log_likelihood": log_likelihood,
        "nats_per_row": log_likelihood / rows.total_weight,
        "elbo": elbo,
        "gap": gap,
        "log_prior": float(model.global_term().detach()),
        "free_parameters": parameters,
        "bic": -2 * log_likelihood + parameters * math.log(rows.total_weight),
        "passes": len(entry.bounds),
        "seconds": entry.seconds,
        "converged": entry.converged,
        "reason": entry.reason,
        "gradient_norm": entry.gradient_norm,
    }


@torch.no_grad()
def _pair(a: LatentModel, b: LatentModel, rows: Rows) -> dict[str, float]:
    try:
        order = align(a, b, rows)
    except (TypeError, ValueError):  # continuous latents, or different numbers of components: nothing to match
        return {"parameter_distance": math.nan, "posterior_kl": math.nan}
    total = 0.0
    for chunk in rows.chunks(EVALUATION_ROWS):
        ours, theirs = a.posterior(chunk.x), b.posterior(chunk.x)
        divergence = kl(ours, torch.distributions.Categorical(logits=theirs.logits[:, order]))  # type: ignore[attr-defined]
        total += float(divergence.sum() if chunk.weights is None else divergence @ chunk.weights)
    distance = math.nan
    if hasattr(b, "permute"):
        b = copy.deepcopy(b)
        b.permute(order)  # type: ignore[attr-defined]
        distance = parameter_distance(a, b)
    return {"parameter_distance": distance, "posterior_kl": total / rows.total_weight}


def parameter_distance(a: Any, b: Any) -> float:
    """The largest difference between the parameters of two models of one kind, NaN if they are of different kinds.

    Bounded parameters (probabilities) are compared as they are; those that may be 0 (rates of counts) by twice their
    square roots, in which a count has a standard deviation of 1; others in the unconstrained coordinates of `a`:
    locations in units of the data, scales by their logarithms.
    """
    largest = 0.0
    theirs = dict(b.named_modules())
    for path, module in a.named_modules():
        if not isinstance(module, PyroModule):
            continue
        other = theirs.get(path)
        if other is None or module._pyro_params.keys() != other._pyro_params.keys():
            return math.nan
        for name, (constraint, _) in module._pyro_params.items():
            left, right = getattr(module, name).detach(), getattr(other, name).detach()
            if left.shape != right.shape:
                return math.nan
            if isinstance(constraint, type(constraints.nonnegative)):
                left, right = 2 * left.sqrt(), 2 * right.sqrt()
            elif not isinstance(constraint, (type(constraints.simplex), type(constraints.unit_interval))):
                to = transform_to(constraint)
                left, right = to.inv(left), to.inv(right)
            largest = max(largest, float((left - right).abs().max()))
    return largest


DENSITY = "a density"  # the measure of continuous columns


def measures(model: LatentModel, rows: Rows) -> list[str]:
    """What the model gives of each column, in words: probabilities or a density. Read off its Pyro program."""
    with torch.random.fork_rng(devices=[]):  # the program draws z
        trace = poutine.trace(model.model).get_trace(next(rows.chunks(1)).x)
    support = trace.nodes["x"]["fn"].support  # type: ignore[reportTypedDictNotRequiredAccess, reportFunctionMemberAccess]
    return _measures(support, rows.features)


def _measures(support: Any, columns: int) -> list[str]:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if isinstance(support, Columns):
        found = [""] * columns
        for part, group in zip(support.parts, support.columns, strict=True):
            for j, measure in zip(group, _measures(part, len(group)), strict=True):
                found[j] = measure
        return found
    if isinstance(support, constraints.multinomial):
        return ["probabilities of counts given the sum of their row"] * columns
    if isinstance(support, type(constraints.simplex)):
        return ["a density of shares"] * columns
    return ["probabilities of discrete data" if support.is_discrete else DENSITY] * columns
