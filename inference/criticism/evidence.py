"""`evidence`: log p(x) of each row, in closed form where there is one, else by importance weighting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical, Distribution

from ...data.rows import as_rows
from ...models import LatentModel
from ...models.continuous.distribution_views import parameters_of, rebuilt
from ...models.continuous.networks import evaluation_mode
from ...models.random_state import fixed_seed, gpus
from ..fitting.fit_arguments import require_model
from .log_joint_density import log_joint_density

CELLS = 1 << 22  # rows x draws x columns taken at a time
FEW = 10  # effective draws below which the estimate of a row is not reliable


@dataclass(frozen=True, repr=False)
class Evidence:
    """log p(x) of each row in nats, its standard error, and the ELBO below it: what `evidence` returns.

    `str()` gives the mean and its standard error.

    Attributes:
        log_evidence: (n,) log p(x), in closed form if `exact`. Else the log of the mean importance weight, whose
            expectation is below log p(x) by about half its squared standard error.
        standard_error: (n,) the standard error of log_evidence from the draws; 0 if exact.
        elbo: (n,) the mean log importance weight.
        elbo_error: (n,) its standard error.
        effective_samples: (n,) (sum_s w_s)^2 / sum_s w_s^2: the number of draws from p(z | x) that carry as much
            information as the weighted draws from q.
        samples: Draws of z for each row. 0 for a discrete z, which is summed over: all errors are then 0.
        exact: Whether log_evidence is in closed form.

    Example:
        >>> import torch
        >>> from lowerbound.inference import Evidence
        >>> zeros = torch.zeros(2)
        >>> found = Evidence(torch.tensor([-1.0, -2.0]), zeros, torch.tensor([-1.0, -2.0]), zeros, zeros, 0, True)
        >>> print(found)
        log p(x) = -1.500000 nats per row, in closed form
    """

    log_evidence: Float[Tensor, " n"]
    standard_error: Float[Tensor, " n"]
    elbo: Float[Tensor, " n"]
    elbo_error: Float[Tensor, " n"]
    effective_samples: Float[Tensor, " n"]
    samples: int
    exact: bool

    @property
    def mean(self) -> float:
        """The mean of log_evidence over rows: nats per row."""
        return float(self.log_evidence.mean())

    @property
    def mean_error(self) -> float:
        """The standard error of `mean` from the draws of z; that of sampling rows is not in it."""
        return float(self.standard_error.square().sum().sqrt()) / len(self.standard_error)

    def __str__(self) -> str:
        if self.exact:
            return f"log p(x) = {self.mean:.6f} nats per row, in closed form"
        few = int((self.effective_samples < min(FEW, self.samples / 2)).sum())
        warning = f"; for {few} rows they are worth fewer than {FEW}: raise samples" if few else ""
        return f"log p(x) = {self.mean:.4f} +- {self.mean_error:.2g} nats per row, by {self.samples} draws{warning}"

    __repr__ = __str__


@torch.no_grad()
def evidence(
    model: LatentModel,
    x: Any,
    samples: int = 1000,
    seed: int = 0,
    q: Distribution | None = None,
    closed_form: bool = True,
) -> Evidence:
    """log p(x) of each row: in closed form where the model has one, else log((1 / S) sum_s p(x, z_s) / q(z_s | x)).

    The estimate runs the Pyro program `model.model` with z fixed to the draws, so that it depends on nothing but the
    program. Burda, Grosse & Salakhutdinov, Importance weighted autoencoders, ICLR 2016, who report it with 5000 draws.

    Args:
        model: A model; for a fit, pass `fitted.model`.
        x: (n, d) rows, as `fit` takes them, without row weights.
        samples: S, the draws of z for each row.
        seed: The same seed gives the same numbers.
        q: The distribution that z is drawn from, with batch shape (n,). None for the guide, model.posterior(x).
        closed_form: False estimates log p(x) even where there is a closed form.

    Returns:
        An `Evidence` with one number for each row.

    Raises:
        TypeError: `model` is not a model, or its z is discrete and log p(x) has no closed form.
        ValueError: `samples` is below 1, x has row weights, or q has another batch shape.

    Example:
        >>> from lowerbound.inference import EM, evidence, fit
        >>> from lowerbound.models import PPCA
        >>> x = [[0.0, 0.1], [1.0, 0.8], [2.0, 2.3], [3.0, 2.9]]
        >>> model = fit(PPCA(2, 1), x, EM(), restarts=1, max_passes=20).model
        >>> evidence(model, x).exact
        True
        >>> sampled = evidence(model, x, samples=100, closed_form=False)
        >>> abs(sampled.mean - evidence(model, x).mean) < 0.01  # the guide of PPCA is the exact posterior
        True
    """
    if not isinstance(samples, Integral) or samples < 1:
        raise ValueError(f"samples is {samples!r}, expected a whole number of draws of at least 1")
    require_model(model)
    rows = as_rows(x, model=model)
    if rows.weights is not None:
        raise ValueError("got rows with weights, expected a plain table: the result is one number for each row")
    if q is not None and rows.in_batches is not None:
        raise ValueError("got a DataLoader and a q for each row, which a loader may shuffle: pass its dataset instead")
    if q is not None and tuple(q.batch_shape) != (len(rows),):
        raise ValueError(f"q has batch shape {tuple(q.batch_shape)}, expected ({len(rows)},): one for each row")
    parts = []
    with evaluation_mode(model), fixed_seed(seed, gpus(model)):
        for chunk in rows.chunks(max(1, CELLS // (samples * max(rows.features, 256)))):
            given = model.posterior(chunk.x) if q is None else _rows_of(q, chunk.numbers)
            closed = model.evidence(chunk.x) if closed_form else None
            if closed is not None and q is None and isinstance(given, Categorical):
                zeros = torch.zeros_like(closed)
                parts.append(Evidence(closed, zeros, model.bound(chunk.x), zeros, zeros + torch.inf, 0, True))
                continue
            found = _importance_estimate(log_weights(model, chunk.x, given, samples))
            if closed is not None:
                closed = closed.double().cpu()
                found = replace(found, log_evidence=closed, standard_error=torch.zeros_like(closed), exact=True)
            parts.append(found)
    return concatenated(parts)


def concatenated(parts: Sequence[Evidence]) -> Evidence:
    """The evidence of the rows of all parts, in order."""
    per_row = ((e.log_evidence, e.standard_error, e.elbo, e.elbo_error, e.effective_samples) for e in parts)
    columns = [torch.cat(column) for column in zip(*per_row, strict=True)]
    return Evidence(*columns, samples=parts[0].samples, exact=parts[0].exact)


def log_weights(model: LatentModel, x: Tensor, q: Distribution, samples: int) -> Float[Tensor, "s n"]:
    """log p(x, z_s) - log q(z_s | x) of `samples` draws of z from q for each row, in float64."""
    require_continuous(q)
    size = max(1, CELLS // (len(x) * max(x.shape[1], 256)))
    parts = []
    for start in range(0, samples, size):
        z = q.sample((min(size, samples - start),))
        parts.append((log_joint_density(model, x, z) - q.log_prob(z)).double().cpu())
    return torch.cat(parts)


def require_continuous(q: Distribution) -> None:
    """Raise TypeError for a discrete z, which is summed over, not drawn."""
    if isinstance(q, Categorical):
        raise TypeError("q(z | x) is a Categorical, expected a continuous latent: elbo_gap sums over a discrete one")


def _importance_estimate(log_weights: Float[Tensor, "s n"]) -> Evidence:
    s = len(log_weights)
    log_mean = torch.logsumexp(log_weights, 0) - math.log(s)
    relative = (log_weights - log_mean).exp()  # weights over their mean
    # the error of a logarithm is the relative error of its argument
    errors = [values.var(0, unbiased=False).sqrt() / s**0.5 for values in (relative, log_weights)]
    effective = s / relative.square().mean(0)
    impossible = log_mean == -torch.inf  # under every draw
    errors[0] = torch.where(impossible, torch.inf, errors[0])
    effective = torch.where(impossible, 0.0, effective)
    return Evidence(log_mean, errors[0], log_weights.mean(0), errors[1], effective, samples=s, exact=False)


def _rows_of(q: Distribution, rows: Tensor | None) -> Distribution:
    """q of these rows, None for all."""
    return rebuilt(q, {name: value[... if rows is None else rows] for name, value in parameters_of(q).items()})
