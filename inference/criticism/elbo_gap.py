"""The identity log p(x) = ELBO + KL(q || p(z | x)), as numbers, for any q."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from ...data.rows import EVALUATION_ROWS, as_rows
from ...models import LatentModel, SupportsPosterior
from .kl import kl
from .log_joint import log_joint

GAP_ROWS = EVALUATION_ROWS // 8  # at a time: of each Student-t component a (rows, d, d) copy of its factor


@dataclass(frozen=True)
class Gap:
    """Of each row, in nats: evidence log p(x), elbo E_q[log p(x, z) - log q(z)], kl KL(q || p(z | x)), all (n,).

    evidence = elbo + kl to rounding; each of the three is computed by its own definition.
    """

    evidence: Float[Tensor, " n"]
    elbo: Float[Tensor, " n"]
    kl: Float[Tensor, " n"]


@torch.no_grad()
def elbo_gap(model: LatentModel, x: Any, q: Distribution | Tensor | None = None) -> Gap:
    """What a choice of q(z | x) costs: the evidence, its lower bound under q, and the divergence between them.

    Runs the Pyro program `model.model` with all values of its discrete latent z side by side, as Pyro enumerates it, so
    that it depends on nothing but the program. q: a Categorical with batch shape (n,), or its probabilities (n, k);
    None for model.posterior(x), the guide. Raises TypeError if z is not discrete, ValueError if q has another shape.
    """
    if isinstance(model, SupportsPosterior):
        raise TypeError(
            f"{type(model).__name__} has a distribution over its parameters, expected a model of one: of its rows take "
            "model.evidence(x) and model.bound(x), or the model.mixture(theta) of a draw"
        )
    parts = []
    start = 0
    for chunk in as_rows(x, model=model).chunks(GAP_ROWS):
        given = None if q is None else _part(q, start, len(chunk.x))
        parts.append(_gap(model, chunk.x, given))
        start += len(chunk.x)
    rows = start if q is None else len(q if isinstance(q, Tensor) else q.logits)  # type: ignore[attr-defined]
    if rows != start:
        raise ValueError(f"q has {rows} rows, x has {start}")
    return Gap(*(torch.cat(column) for column in zip(*((g.evidence, g.elbo, g.kl) for g in parts), strict=True)))


def _gap(model: LatentModel, x: Tensor, q: Distribution | None) -> Gap:
    own = model.posterior(x)
    q = own if q is None else q
    if not isinstance(own, torch.distributions.Categorical) or not isinstance(q, torch.distributions.Categorical):
        raise TypeError(
            f"q is a {type(q).__name__}, expected a Categorical: the sum over z is exact only for a discrete latent"
        )
    if q.logits.shape != own.logits.shape:
        got, expected = tuple(q.logits.shape), tuple(own.logits.shape)
        raise ValueError(f"q has {got} probabilities, expected {expected}: one for each of the rows and components")
    # (k, 1), as Pyro enumerates it: parameters are picked for each value, not for each row
    joint = log_joint(model, x, torch.arange(q.logits.shape[-1], device=q.logits.device).unsqueeze(-1)).T
    evidence = torch.logsumexp(joint, -1)
    possible = (evidence > -torch.inf).unsqueeze(-1)  # an impossible row has no posterior: any q is as good
    posterior = dist.Categorical(logits=torch.where(possible, joint - evidence.unsqueeze(-1), q.logits))
    inner = torch.where(q.probs > 0, q.probs * (joint - q.logits), torch.zeros_like(joint))
    return Gap(evidence, inner.sum(-1), kl(q, posterior))


def _part(q: Distribution | Tensor, start: int, n: int) -> Distribution:
    if isinstance(q, Tensor):
        q = dist.Categorical(probs=q.to(torch.float64))
    if not isinstance(q, torch.distributions.Categorical) or q.logits.ndim != 2:
        raise TypeError(f"q is {q!r}, expected a Categorical with batch shape (n,) or probabilities (n, k)")
    return dist.Categorical(logits=q.logits[start : start + n])
