"""Fits of any models by any engines, on one scale: nats, of the same rows."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch.distributions import constraints, transform_to

from ...data.rows import as_rows, takes_missing
from ...models import LatentModel, Rows, SupportsPosterior
from ...models.continuous.networks import evaluation_mode
from ...models.families.joint_distribution import Columns
from ...models.random_state import fixed_seed, gpus
from ..engines.data_bound import EVALUATION_ROWS
from ..fitting.fit_result import Fit
from .align import align
from .comparison import Comparison
from .elbo_gap import elbo_gap
from .evidence import evidence
from .kl import kl
from .posterior_scores import posterior_scores

ROUNDING = 1e-12  # of the ELBO: a gap below it is 0, whatever its sign
SAMPLES = 200  # draws of a continuous z for each row, where its sum has no closed form


def compare(x: Any, *, weights: Any = None, held_out: Any = None, **fits: Fit) -> Comparison:
    """Score fits on the rows of x, each under its own name: compare(x, em=fit_em, svi=fit_svi).

    x: (n, d) as `fit` takes it, the training rows or others. weights: (n,) or None. held_out: rows that no fit has
    seen, which rank models of any size, or None. Raises ValueError if there is nothing to compare, if the columns do
    not match, or if the fits measure some column in different ways: a probability and a density cannot be ranked.
    """
    with torch.random.fork_rng(devices=[]):  # a table that draws its rows leaves no trace
        return _compare(x, weights, held_out, fits)


def _compare(x: Any, weights: Any, held_out: Any, fits: dict[str, Fit]) -> Comparison:
    if not fits:
        raise ValueError("got no fits, expected some by name: compare(x, em=fit(...), svi=fit(...))")
    for name, entry in fits.items():
        if not isinstance(entry, Fit):
            raise TypeError(f"{name} is a {type(entry).__name__}, expected what fit() returns")
    leader = next((name for name, entry in fits.items() if takes_missing(entry.model)), next(iter(fits)))
    first = fits[leader].model
    rows = as_rows(x, weights, model=first)
    for name, entry in fits.items():
        if rows.conformed(entry.model).schema != rows.schema:
            raise ValueError(
                f"{name} was fitted to columns or categories in another order than {leader}, expected fits to one table"
            )
    require_whole({name: entry.model for name, entry in fits.items()}, rows)
    require_one_measure({name: measures(entry.model, rows) for name, entry in fits.items()}, rows)
    others = None if held_out is None else as_rows(held_out, model=first if rows.schema is None else rows)
    if others is not None and others.features != rows.features:
        raise ValueError(f"the rows held out have {others.features} columns, expected {rows.features} as the others")
    of_posteriors = posterior_scores(fits, rows)
    scores = pd.DataFrame(
        [_score(entry, rows, others) | of_posteriors[name] for name, entry in fits.items()],
        index=pd.Index(fits, name="fit"),
    )
    pairs = [
        {"first": a, "second": b, **_pair(fits[a].model, fits[b].model, rows)}
        for a, b in itertools.combinations(fits, 2)
    ]
    columns = ["first", "second", "parameter_distance", "posterior_kl"]
    return Comparison(rows, dict(fits), scores, pd.DataFrame(pairs, columns=columns))


def require_whole(models: Mapping[str, Any], rows: Rows) -> None:
    """Raise ValueError if cells are missing that one of the models cannot do without."""
    whole = [name for name, model in models.items() if not takes_missing(model)]
    if whole and rows.gaps.cells:
        raise ValueError(
            f"{rows.gaps.first}, and {whole[0]}, a {type(models[whole[0]]).__name__}, takes none that misses a cell: "
            "compare on whole rows, such as x.dropna(), or leave it out"
        )


def require_one_measure(found: dict[str, list[str]], rows: Rows) -> None:
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


@dataclass(frozen=True)
class _Sums:
    """Over rows, weighted, in nats: log p(x), the variance of its estimate, the ELBO, and KL(q || posterior)."""

    evidence: float
    variance: float
    elbo: float
    gap: float


def _sums(model: LatentModel, rows: Rows) -> _Sums:
    with fixed_seed(0, gpus(model)):  # a table that draws its rows gives each model the same
        return _summed(model, rows)


def _summed(model: LatentModel, rows: Rows) -> _Sums:
    sums, seen = torch.zeros(4, dtype=torch.float64), 0
    for chunk in rows.chunks(EVALUATION_ROWS):
        weights = torch.ones(len(chunk.x), dtype=torch.float64) if chunk.weights is None else chunk.weights
        if isinstance(model, SupportsPosterior):
            predictive, bound = model.evidence(chunk.x), model.bound(chunk.x, chunk.labels)
            assert predictive is not None
            # what q of the parameters costs is not of single rows: no gap
            terms = (predictive, torch.zeros_like(predictive), bound, torch.full_like(bound, torch.nan))
        elif isinstance(model.posterior(chunk.x[:1]), torch.distributions.Categorical):
            parts = elbo_gap(model, chunk.x)
            terms = (parts.evidence, torch.zeros_like(parts.evidence), model.bound(chunk.x).double(), parts.kl)
        else:
            found = evidence(model, chunk.x, SAMPLES, seed=seen)  # errors of chunks are independent
            terms = (found.log_evidence, found.standard_error**2, found.elbo, found.log_evidence - found.elbo)
        powers = (weights, weights**2, weights, weights)
        sums += torch.stack([term @ power for term, power in zip(terms, powers, strict=True)])
        seen += len(chunk.x)
    evidence_sum, variance, elbo, gap = sums.tolist()
    return _Sums(evidence_sum, variance, elbo, gap if abs(gap) > ROUNDING * abs(elbo) else abs(gap))


def _score(entry: Fit, rows: Rows, held_out: Rows | None) -> dict[str, Any]:
    model = entry.model
    sums = _sums(model, rows)
    unseen = None if held_out is None else _sums(model, held_out)
    parameters = model.free_parameters()
    sampled = isinstance(model, SupportsPosterior) and model.is_sampled
    return {
        "log_likelihood": sums.evidence,
        "log_likelihood_error": sums.variance**0.5,
        "nats_per_row": sums.evidence / rows.total_weight,
        "held_out": math.nan if unseen is None else unseen.evidence / held_out.total_weight,  # type: ignore[union-attr]
        "held_out_error": math.nan if unseen is None else unseen.variance**0.5 / held_out.total_weight,  # type: ignore[union-attr]
        "elbo": sums.elbo,
        "gap": sums.gap,
        "log_prior": float(model.global_term().detach()),
        # of all relabellings together
        "bound": sums.elbo + float(model.global_term().detach()) + model.log_labellings(rows.labels)
        if isinstance(model, SupportsPosterior) and not model.is_point
        else math.nan,
        "free_parameters": parameters,
        # for a maximum of the likelihood alone
        "bic": math.nan
        if isinstance(model, SupportsPosterior)
        else -2 * sums.evidence + parameters * math.log(rows.total_weight),
        # a sampler has draws, and no way up
        "passes": math.nan if sampled else len(entry.bounds),
        "seconds": entry.seconds,
        "converged": entry.converged,
        "reason": entry.reason,
        "gradient_norm": math.nan if sampled else entry.gradient_norm,
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
        first, second = (m.centre() if isinstance(m, SupportsPosterior) else m for m in (a, b))
        second = copy.deepcopy(second)
        second.permute(order)  # type: ignore[attr-defined]
        distance = parameter_distance(first, second)
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
            elif isinstance(constraint, constraints.greater_than):  # a scale with a least value, which it may be at
                left, right = left.log(), right.log()
            elif not isinstance(constraint, (type(constraints.simplex), type(constraints.unit_interval))):
                to = transform_to(constraint)
                left, right = to.inv(left), to.inv(right)
            largest = max(largest, float((left - right).abs().max()))
    return largest


DENSITY = "a density"  # the measure of continuous columns


def measures(model: LatentModel, rows: Rows) -> list[str]:
    """What the model gives of each column, in words: probabilities or a density. Read off its Pyro program."""
    with torch.random.fork_rng(devices=gpus(model)), torch.no_grad(), evaluation_mode(model):  # the program draws z
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
