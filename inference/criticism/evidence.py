"""log p(x) of each row: in closed form where there is one, else by importance weighting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical, Distribution

from ...data.rows import as_rows
from ...models import LatentModel
from ...models.continuous.networks import evaluation_mode
from ...models.random_state import fixed_seed, gpus
from .log_joint import log_joint
from .movable_posterior import part

CELLS = 1 << 22  # rows x draws x columns taken at a time
FEW = 10  # effective draws below which an importance-weighted estimate of a row is not to be relied on


@dataclass(frozen=True, repr=False)
class Evidence:
    """log p(x) of each row in nats and how sure it is, and the ELBO that bounds it.

    log_evidence: (n,); in closed form if `exact`, else the log of the mean importance weight, which is below log p(x)
    in the mean, by about half the square of its standard error. standard_error: (n,), 0 if exact. elbo, elbo_error:
    (n,) the mean log weight, under the same draws, and its standard error. effective_samples: (n,) how many draws from
    the posterior the weighted draws from q are worth, (sum w)^2 / sum w^2. samples: draws of z for each row; 0 for a
    discrete z, which is summed over, with all errors 0.
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
        """Nats per row."""
        return float(self.log_evidence.mean())

    @property
    def mean_error(self) -> float:
        """The standard error of `mean` that comes of the draws."""
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

    Runs the Pyro program `model.model` with z fixed to the draws, so that it depends on nothing but the program.
    samples: S, draws of z for each row. q: what they are drawn from, with batch shape (n,), by default
    model.posterior(x), the guide. closed_form: False takes the draws even where there is a closed form. The same seed
    gives the same numbers. Burda, Grosse & Salakhutdinov, ICLR 2016, with their 5000 draws for a published figure.

    Raises ValueError for no draws or a q of another shape, TypeError for a discrete z that has no closed form.
    """
    if not isinstance(samples, Integral) or samples < 1:
        raise ValueError(f"samples is {samples!r}, expected a whole number of draws of at least 1")
    require_model(model)
    rows = as_rows(x, model=model)
    if rows.weights is not None:
        raise ValueError("got rows with weights, expected a plain table: what comes back is of each row, without them")
    if q is not None and rows.in_batches is not None:
        raise ValueError("got a DataLoader and a q for each row, which a loader may shuffle: pass its dataset instead")
    if q is not None and tuple(q.batch_shape) != (len(rows),):
        raise ValueError(f"q has batch shape {tuple(q.batch_shape)}, expected ({len(rows)},): one for each row")
    parts = []
    with evaluation_mode(model), fixed_seed(seed, gpus(model)):
        for chunk in rows.chunks(max(1, CELLS // (samples * max(rows.features, 256)))):
            given = model.posterior(chunk.x) if q is None else part(q, chunk.numbers)
            closed = model.evidence(chunk.x) if closed_form else None
            if closed is not None and q is None and isinstance(given, Categorical):
                none = torch.zeros_like(closed)
                parts.append(Evidence(closed, none, model.bound(chunk.x), none, none + torch.inf, 0, True))
                continue
            found = _weigh(log_weights(model, chunk.x, given, samples))
            if closed is not None:
                closed = closed.double().cpu()
                found = replace(found, log_evidence=closed, standard_error=torch.zeros_like(closed), exact=True)
            parts.append(found)
    return joined(parts)


def joined(parts: Sequence[Evidence]) -> Evidence:
    """That of all rows, in turn."""
    columns = [torch.cat([getattr(each, field.name) for each in parts]) for field in fields(Evidence)[:5]]
    return Evidence(*columns, samples=parts[0].samples, exact=parts[0].exact)


def log_weights(model: LatentModel, x: Tensor, q: Distribution, samples: int) -> Float[Tensor, "s n"]:
    """log p(x, z_s) - log q(z_s | x) of `samples` draws of z from q for each row, in float64."""
    require_continuous(q)
    size = max(1, CELLS // (len(x) * max(x.shape[1], 256)))
    parts = []
    for start in range(0, samples, size):
        z = q.sample((min(size, samples - start),))
        parts.append((log_joint(model, x, z) - q.log_prob(z)).double().cpu())
    return torch.cat(parts)


def require_model(model: Any) -> None:
    """Raise TypeError for what is not a model, such as the fit of one."""
    if not isinstance(model, LatentModel):
        raise TypeError(f"got a {type(model).__name__} as the model, expected a model: of a fit, pass fitted.model")


def require_continuous(q: Distribution) -> None:
    """Raise TypeError for a discrete z, which is not drawn but summed over."""
    if isinstance(q, Categorical):
        raise TypeError("q(z | x) is a Categorical, expected a continuous latent: elbo_gap sums over a discrete one")


def _weigh(log_weights: Float[Tensor, "s n"]) -> Evidence:
    """What draws with these weights tell of each row."""
    s = len(log_weights)
    log_mean = torch.logsumexp(log_weights, 0) - math.log(s)
    relative = (log_weights - log_mean).exp()  # weights over their mean
    # the logarithm turns the error of the mean weight into a relative one
    errors = [values.var(0, unbiased=False).sqrt() / s**0.5 for values in (relative, log_weights)]
    effective = s / relative.square().mean(0)
    impossible = log_mean == -torch.inf  # under every draw
    errors[0] = torch.where(impossible, torch.inf, errors[0])
    effective = torch.where(impossible, 0.0, effective)
    return Evidence(log_mean, errors[0], log_weights.mean(0), errors[1], effective, samples=s, exact=False)
