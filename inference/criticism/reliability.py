"""How far q(theta) is from the true posterior, and log p(x), by Pareto-smoothed importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from ...data.rows import as_rows
from ...models import BayesianMixture
from ..fitting.fit_result import Fit
from .pointwise import pointwise
from .relabellings import MOST, log_mean_density

GOOD, USABLE = 0.5, 0.7  # Pareto k below which importance weights have a variance, and can be smoothed reliably
FEWEST = 100  # draws: of fewer, the tail is too short to be fitted
EQUAL = 1e-6  # nats: log ratios that differ by less differ by rounding


@dataclass(frozen=True)
class Reliability:
    """What importance sampling from q says of q; `str()` says it in words.

    pareto_k: shape of the tail of the ratios p(x, theta) / q(theta); log_evidence: log p(x) in nats, of all rows
    together; standard_error: its own, in nats; elbo: E_q[log p(x, theta) - log q(theta)] in nats, so that log_evidence
    - elbo is KL(q || posterior); draws: how many theta were drawn.
    """

    pareto_k: float
    log_evidence: float
    standard_error: float
    elbo: float
    draws: int

    def __str__(self) -> str:
        if self.pareto_k < GOOD:
            verdict = "q is close to the posterior"
        elif self.pareto_k < USABLE:
            verdict = "q is usable, with importance weights that vary much"
        else:
            verdict = "q is too far from the posterior for this"
        return (
            f"Pareto k = {self.pareto_k:.2f} of {self.draws} draws (< {GOOD} good, < {USABLE} usable): {verdict}\n"
            f"log p(x) = {self.log_evidence:.3f} nats, standard error {self.standard_error:.2g}; "
            f"bound {self.elbo:.3f}, KL(q || posterior) about {max(self.log_evidence - self.elbo, 0):.2g}"
        )


@torch.no_grad()
def reliability(
    fit: Fit | BayesianMixture, x: Any, *, weights: Any = None, labels: Any = None, draws: int = 1000, seed: int = 0
) -> Reliability:
    """Pareto k of the ratios p(x, theta) / q(theta), theta ~ q, and log p(x) as the log of their smoothed mean.

    log p(x, theta) = sum_i w_i log p(x_i | theta) + log p(theta), z summed out: so the bound here is at least that of
    the mean-field q(z) q(theta), but for the error of the draws. Rows with labels: log p(x_i, label_i | theta).

    A mixture has K! equal posterior modes, its relabellings, of which q covers one. Of a conjugate q the density is
    therefore averaged over all relabellings of theta (of up to 12 components): right whether or not the modes overlap.
    Of a guide, and of more components, `model.log_labellings` is added to log_evidence and elbo instead, log K! less
    that of the empty ones, which is right where the other modes do not overlap and too much where they do. Components
    that labels name, or that priors tell apart, have no relabellings; neither has stick-breaking, for which
    log_evidence is of the mode that q covers.

    fit: of a `BayesianMixture`, or one itself, with a conjugate q or a guide. The same numbers for the same seed. Yao,
    Vehtari, Simpson & Gelman, ICML 2018; Vehtari, Simpson, Gelman, Yao & Gabry, JMLR 25 (2024), 72. Raises TypeError
    for models whose q has no density, ValueError for fewer than 100 draws, ArithmeticError for ratios that are no
    numbers.
    """
    model = fit.model if isinstance(fit, Fit) else fit
    if not isinstance(model, BayesianMixture):
        raise TypeError(f"got {type(model).__name__}, expected a BayesianMixture: only it has a q over its parameters")
    if model.q.is_point:
        raise TypeError("q is a point, expected one with a density: fit BayesianMixture(family), or another guide")
    if not isinstance(draws, Integral) or draws < FEWEST:
        raise ValueError(f"draws is {draws!r}, expected a whole number of at least {FEWEST}")
    theta, log_q = model.draw_with_density(int(draws), seed)
    if log_q.isnan().all():
        raise TypeError(
            "q is a sample of draws, whose density is not known: see the r_hat of arviz.summary(to_arviz(fit, x))"
        )
    rows = as_rows(x, weights, labels, model)
    chunks = list(rows.chunks())
    log_p = torch.stack([pointwise(view, chunks).sum() for view in model.views(theta)]) + model.log_prior(theta)
    alike, shift = model.exchangeable(rows.labels), 0.0
    if model.shares.exchangeable and model.beliefs.conjugate and len(alike) <= MOST:
        log_q = log_mean_density(model, theta, alike)
    else:
        shift = model.log_labellings(rows.labels)
    ratios = (log_p - log_q + shift).double().numpy()
    if np.isnan(ratios).any() or ratios.max() == np.inf or ratios.max() == -np.inf:
        raise ArithmeticError(
            "p(x, theta) / q(theta) is not a number for some draws, expected one: some weights or probabilities that "
            "were drawn are 0 to rounding; take a larger concentration, or fewer components"
        )
    log_weights, k = pareto_smoothed(ratios)
    log_evidence = float(np.logaddexp.reduce(log_weights)) - math.log(len(ratios))
    relative = np.exp(log_weights - log_evidence)
    return Reliability(
        k, log_evidence, float(relative.std() / math.sqrt(len(ratios))), float(ratios.mean()), int(draws)
    )


def pareto_smoothed(log_ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Log ratios (s,) with the largest, min(s / 5, 3 sqrt(s)) of them, replaced by quantiles of the generalized Pareto
    distribution that fits them, and its shape k: 0 of ratios that are all equal, infinite if the tail has too few."""
    if np.ptp(log_ratios) < EQUAL:
        return log_ratios.copy(), 0.0
    top = log_ratios.max()
    x = log_ratios - top
    order = x.argsort(kind="stable")
    size = math.ceil(min(len(x) / 5, 3 * math.sqrt(len(x))))
    cutoff = max(x[order[-size - 1]], math.log(np.finfo(float).tiny))
    tail = order[x[order] > cutoff]
    if len(tail) <= 4:
        return log_ratios.copy(), math.inf
    k, scale = _fit_pareto(np.exp(x[tail]) - math.exp(cutoff))
    if not math.isfinite(k):
        return log_ratios.copy(), math.inf
    above = -np.log1p(-np.arange(0.5, len(tail)) / len(tail))  # quantiles of an exponential distribution
    quantiles = scale * (np.expm1(k * above) / k if abs(k) > 1e-30 else above)
    x[tail] = np.minimum(np.log(quantiles + math.exp(cutoff)), 0)
    return x + top, k


def _fit_pareto(x: np.ndarray) -> tuple[float, float]:
    """Shape and scale of the generalized Pareto distribution of x > 0, in increasing order: the posterior mean of Zhang
    & Stephens, Technometrics 51 (2009), 316-325, the shape drawn to 0.5 by ten observations' worth of prior."""
    n = len(x)
    points = 30 + int(math.sqrt(n))
    b = 1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))
    b = b / (3 * x[int(n / 4 + 0.5) - 1]) + 1 / x[-1]
    shape = np.log1p(-b[:, None] * x).mean(1)
    weight = softmax(n * (np.log(-b / shape) - shape - 1))
    best = float(b @ weight)
    k = float(np.log1p(-best * x).mean())
    return (n * k + 10 * 0.5) / (n + 10), -k / best
