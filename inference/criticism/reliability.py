"""`reliability`: how far q(theta) is from the true posterior, and log p(x), by importance sampling from q."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch

from ...data.rows import as_rows
from ...models import BayesianMixture
from ..fitting.fit_result import Fit
from .pareto_smoothing import pareto_smoothed
from .permutation_averaged_density import MAX_COMPONENTS, log_permutation_averaged_density
from .pointwise_log_likelihood import pointwise_log_likelihood

GOOD, USABLE = 0.5, 0.7  # Pareto k below which importance weights have a variance, and can be smoothed reliably
FEWEST = 100  # draws: with fewer, the tail is too short to be fitted


@dataclass(frozen=True)
class Reliability:
    """What importance sampling from q(theta) says about q: what `reliability` returns. `str()` says it in words.

    Attributes:
        pareto_k: The shape of the tail of the ratios p(x, theta) / q(theta): below 0.5 good, below 0.7 usable.
        log_evidence: log p(x) of all rows together, in nats.
        standard_error: The standard error of log_evidence from the draws, in nats.
        elbo: E_q[log p(x, theta) - log q(theta)] in nats: log_evidence - elbo is KL(q || posterior). z is summed out,
            so that it is above the bound in `compare`, which has a q(z), too.
        draws: The number of draws of theta.

    Example:
        >>> from lowerbound.inference import Reliability
        >>> print(Reliability(0.2, -10.0, 0.01, -10.5, 1000))
        Pareto k = 0.20 of 1000 draws (< 0.5 good, < 0.7 usable): q is close to the posterior
        log p(x) = -10.000 nats, standard error 0.01; its bound by q(theta) alone -10.500, KL(q || posterior) about 0.5
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
            f"its bound by q(theta) alone {self.elbo:.3f}, "
            f"KL(q || posterior) about {max(self.log_evidence - self.elbo, 0):.2g}"
        )


@torch.no_grad()
def reliability(
    fit: Fit | BayesianMixture, x: Any, *, weights: Any = None, labels: Any = None, draws: int = 1000, seed: int = 0
) -> Reliability:
    """Pareto k of the ratios p(x, theta) / q(theta), theta ~ q, and log p(x) as the log of their smoothed mean.

    log p(x, theta) = sum_i w_i log p(x_i | theta) + log p(theta), with z summed out; for rows with labels,
    log p(x_i, label_i | theta). The bound here is therefore at least that of the mean-field q(z) q(theta), except for
    the error of the draws.

    A mixture has K! equal posterior modes, its relabellings, and q covers one of them. How the others are counted:

    - For a conjugate q of up to 12 components, the density of q is averaged over all relabellings of theta. This is
      exact, whether or not the modes overlap.
    - For a guide, and for more components, `model.log_labellings` is added to log_evidence and elbo: log K! minus the
      log of the permutations of empty components. It is exact where modes do not overlap, and too much where they do.
    - Components with labels, or with different priors, have no relabellings. Nor has stick-breaking: its
      log_evidence is that of the mode that q covers.

    Yao, Vehtari, Simpson & Gelman, Yes, but did it work?, ICML 2018.

    Args:
        fit: A fit of a `BayesianMixture`, or the model, with a conjugate q or a guide.
        x: (n, d) rows of the fit.
        weights: (n,) row weights of the fit, or None.
        labels: (n,) labels of the fit, -1 where unknown, or None.
        draws: The number of draws of theta, at least 100.
        seed: The same seed gives the same numbers.

    Returns:
        A `Reliability`.

    Raises:
        TypeError: The model is no `BayesianMixture`, or its q has no density: a point, or the draws of a sampler.
        ValueError: `draws` is below 100.
        ArithmeticError: The ratios are not numbers, because weights or probabilities underflow to 0.

    Example:
        >>> from lowerbound.inference import EM, fit, reliability
        >>> from lowerbound.models import BayesianMixture, Poisson
        >>> x = [[3.0], [5.0], [2.0]]
        >>> found = reliability(fit(BayesianMixture(Poisson(1, 1)), x, EM()), x, draws=100)
        >>> found.pareto_k < 0.5, abs(found.log_evidence - found.elbo) < 1e-6  # one component: q is the posterior
        (True, True)
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
            "q is a sample of draws, whose density is unknown, expected a conjugate q or a guide: for a sampler see "
            "r_hat of arviz.summary(to_arviz(fit, x))"
        )
    rows = as_rows(x, weights, labels, model)
    chunks = list(rows.chunks())
    log_likelihood = torch.stack([pointwise_log_likelihood(view, chunks).sum() for view in model.views(theta)])
    log_p = log_likelihood + model.log_prior(theta)
    exchangeable, shift = model.exchangeable(rows.labels), 0.0
    if model.shares.exchangeable and model.beliefs.conjugate and len(exchangeable) <= MAX_COMPONENTS:
        log_q = log_permutation_averaged_density(model, theta, exchangeable)
    else:
        shift = model.log_labellings(rows.labels)
    ratios = (log_p - log_q + shift).double().numpy()
    if np.isnan(ratios).any() or ratios.max() == np.inf or ratios.max() == -np.inf:
        raise ArithmeticError(
            "p(x, theta) / q(theta) is not a number for some draws, because weights or probabilities that were drawn "
            "underflow to 0: take a larger concentration, or fewer components"
        )
    log_weights, k = pareto_smoothed(ratios)
    log_evidence = float(np.logaddexp.reduce(log_weights)) - math.log(len(ratios))
    relative = np.exp(log_weights - log_evidence)
    standard_error = float(relative.std() / math.sqrt(len(ratios)))
    return Reliability(k, log_evidence, standard_error, float(ratios.mean()), int(draws))
