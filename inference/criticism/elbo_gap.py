"""`elbo_gap`: the identity log p(x) = ELBO + KL(q || p(z | x)) in numbers, for a discrete z and any q."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical, Distribution

from ...data.rows import EVALUATION_ROWS, as_rows
from ...models import LatentModel, SupportsPosterior
from ..fitting.fit_arguments import require_model
from .kl import kl
from .log_joint_density import log_joint_density

GAP_ROWS = EVALUATION_ROWS // 8  # at a time: each Student-t component needs a (rows, d, d) copy of its factor


@dataclass(frozen=True)
class Gap:
    """The three terms of evidence = elbo + kl for each row, in nats: what `elbo_gap` returns.

    Each is computed by its own definition, so that the identity holds to rounding.

    Attributes:
        evidence: (n,) log p(x).
        elbo: (n,) E_q[log p(x, z) - log q(z)].
        kl: (n,) KL(q(z) || p(z | x)).

    Example:
        >>> import torch
        >>> from lowerbound.inference import Gap
        >>> gap = Gap(evidence=torch.tensor([-1.0]), elbo=torch.tensor([-1.5]), kl=torch.tensor([0.5]))
        >>> float(gap.evidence - gap.elbo - gap.kl)
        0.0
    """

    evidence: Float[Tensor, " n"]
    elbo: Float[Tensor, " n"]
    kl: Float[Tensor, " n"]


@torch.no_grad()
def elbo_gap(model: LatentModel, x: Any, q: Distribution | Tensor | None = None) -> Gap:
    """log p(x), the ELBO under q, and the gap KL(q(z) || p(z | x)) between them, for each row.

    It runs the Pyro program `model.model` with all values of its discrete z side by side, as Pyro enumerates them, so
    that the numbers depend on nothing but the program.

    Args:
        model: A model with a discrete latent variable.
        x: (n, d) rows, as `fit` takes them.
        q: A `Categorical` with batch shape (n,), or its probabilities (n, k). None for the guide, model.posterior(x).

    Returns:
        A `Gap` of three tensors (n,).

    Raises:
        TypeError: `model` is not a model, such as a fit; z is not discrete; or the model has a posterior over its
            parameters.
        ValueError: q has another shape than (n, k).

    Example:
        >>> import torch
        >>> from lowerbound.inference import elbo_gap
        >>> from lowerbound.models import PoissonMixture
        >>> model = PoissonMixture(2, 1)
        >>> model.weights, model.family.rate = torch.tensor([0.5, 0.5]), torch.tensor([[1.0], [9.0]])
        >>> gap = elbo_gap(model, [[2.0], [10.0]], q=torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
        >>> [round(value, 3) for value in gap.kl.tolist()]
        [1.136, 6.293]
    """
    require_model(model)
    if isinstance(model, SupportsPosterior):
        raise TypeError(
            f"{type(model).__name__} has a distribution over its parameters, expected a model with one value of them: "
            "use model.evidence(x) and model.bound(x), or pass the model.mixture(theta) of a draw"
        )
    parts = []
    start = 0
    for chunk in as_rows(x, model=model).chunks(GAP_ROWS):
        given = None if q is None else _rows_of(q, start, len(chunk.x))
        parts.append(_gap(model, chunk.x, given))
        start += len(chunk.x)
    rows = start if q is None else len(q if isinstance(q, Tensor) else q.logits)  # type: ignore[attr-defined]
    if rows != start:
        raise ValueError(f"q has {rows} rows, x has {start}")
    return Gap(*(torch.cat(column) for column in zip(*((g.evidence, g.elbo, g.kl) for g in parts), strict=True)))


def _gap(model: LatentModel, x: Tensor, q: Distribution | None) -> Gap:
    own = model.posterior(x)
    q = own if q is None else q
    if not isinstance(own, Categorical) or not isinstance(q, Categorical):
        raise TypeError(
            f"q is a {type(q).__name__}, expected a Categorical: the sum over z is exact only for a discrete latent"
        )
    if q.logits.shape != own.logits.shape:
        got, expected = tuple(q.logits.shape), tuple(own.logits.shape)
        raise ValueError(f"q has {got} probabilities, expected {expected}: one for each row and component")
    # (k, 1), as Pyro enumerates: parameters are indexed once for each value of z, not for each row
    joint = log_joint_density(model, x, torch.arange(q.logits.shape[-1], device=q.logits.device).unsqueeze(-1)).T
    evidence = torch.logsumexp(joint, -1)
    # an impossible row has no posterior: q stands in for it, so that its KL is 0
    possible = (evidence > -torch.inf).unsqueeze(-1)
    posterior = dist.Categorical(logits=torch.where(possible, joint - evidence.unsqueeze(-1), q.logits))
    inner = torch.where(q.probs > 0, q.probs * (joint - q.logits), torch.zeros_like(joint))
    return Gap(evidence, inner.sum(-1), kl(q, posterior))


def _rows_of(q: Distribution | Tensor, start: int, n: int) -> Distribution:
    if isinstance(q, Tensor):
        q = dist.Categorical(probs=q.to(torch.float64))
    if not isinstance(q, Categorical) or q.logits.ndim != 2:
        raise TypeError(f"q is {q!r}, expected a Categorical with batch shape (n,) or probabilities (n, k)")
    return dist.Categorical(logits=q.logits[start : start + n])
