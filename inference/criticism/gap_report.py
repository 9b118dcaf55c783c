"""What a VAE loses, taken apart: by the family of q(z | x), by amortization, and in dimensions it does not use."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution

from ...data.rows import as_rows
from ...models import LatentModel
from ...models.continuous.distribution_views import parameters_of, rebuilt
from ...models.continuous.draws import kl_to_prior
from ...models.continuous.networks import evaluation_mode
from ...models.random_state import fixed_seed, gpus
from .evidence import CELLS, Evidence, evidence, joined, require_continuous, require_model
from .log_joint import log_joint
from .movable_posterior import Movable

SETTLED = 0.02  # nats per row that the search for the best q may still win in its last tenth
ACTIVE = 0.01  # variance over rows of a posterior mean above which a latent dimension is in use (Burda et al. 2016)


@dataclass(frozen=True, repr=False)
class GapReport:
    """evidence - elbo = approximation + amortization, in nats, of each row (n,).

    encoder: log p(x) and the ELBO under the encoder's q(z | x); best: the same under the best q of its family, found
    for each row alone, whose estimate of log p(x) is the surer one (see `Evidence`). divergence: (latent,) the mean
    over rows of KL(q(z_j | x) || p(z_j)), or (1,) of the whole where the dimensions are not independent under q; None
    where it has no closed form. unsettled: what the last tenth of the steps to the best q still won, nats per row.
    activity: (latent,) the variance over rows of E_q[z_j | x].
    """

    encoder: Evidence
    best: Evidence
    unsettled: float
    divergence: Float[Tensor, " _"] | None
    activity: Float[Tensor, " q"]

    @property
    def evidence(self) -> Float[Tensor, " n"]:
        """log p(x)."""
        return self.best.log_evidence

    @property
    def elbo(self) -> Float[Tensor, " n"]:
        """The ELBO of the model as it is."""
        return self.encoder.elbo

    @property
    def approximation(self) -> Float[Tensor, " n"]:
        """evidence - best.elbo: what no encoder of this family could win."""
        return self.evidence - self.best.elbo

    @property
    def amortization(self) -> Float[Tensor, " n"]:
        """best.elbo - elbo: what one network for all rows loses against a q of each row's own."""
        return self.best.elbo - self.elbo

    @property
    def active(self) -> Bool[Tensor, " q"]:
        """The latent dimensions in use: activity above 0.01 (Burda, Grosse & Salakhutdinov 2016)."""
        return self.activity > ACTIVE

    @property
    def warning(self) -> str | None:
        """One sentence if latent dimensions have collapsed onto the prior, else None."""
        unused = int((~self.active).sum())
        if not unused or len(self.elbo) == 1:  # one row cannot say
            return None
        if unused == len(self.active):
            return (
                "posterior collapse: no latent dimension tells rows apart, the decoder works without z; train with "
                "warm_up or free_bits, or make the decoder weaker"
            )
        return (
            f"{unused} of {len(self.active)} latent dimensions are not in use, their q(z | x) is the prior: take "
            "fewer, or train with warm_up or free_bits"
        )

    def frame(self) -> pd.DataFrame:
        """One line for each row: evidence, elbo, best_elbo, approximation, amortization."""
        columns = {
            "evidence": self.evidence,
            "elbo": self.elbo,
            "best_elbo": self.best.elbo,
            "approximation": self.approximation,
            "amortization": self.amortization,
        }
        return pd.DataFrame({name: value.numpy() for name, value in columns.items()})

    def __str__(self) -> str:
        own, best = (
            float(each.elbo_error.square().sum().sqrt()) / len(self.elbo) for each in (self.encoder, self.best)
        )
        lines = [
            ("log p(x)", self.best.mean, self.best.mean_error),
            ("approximation gap: the best q of its family", float(self.approximation.mean()), best),
            ("amortization gap: one encoder for all rows", float(self.amortization.mean()), own),
            ("ELBO", float(self.elbo.mean()), own),
        ]
        width = max(len(name) for name, _, _ in lines)
        text = [f"{len(self.elbo)} rows, nats per row"]
        text += [f"  {name:<{width}}  {round(value, 4) + 0.0:10.4f} +- {error:.2g}" for name, value, error in lines]
        used = f"{int(self.active.sum())} of {len(self.active)} latent dimensions are in use"
        text.append(f"{used}: the variance of E[z | x] over rows is above {ACTIVE}")
        if self.divergence is not None and len(self.divergence) == len(self.activity):
            each = ", ".join(f"{value:.3g}" for value in self.divergence.tolist())
            text.append(f"KL(q || p) of each, nats per row: {each}")
        if self.warning:
            text.append(self.warning)
        if self.unsettled > SETTLED:
            text.append(
                f"the last tenth of the steps to the best q still won {self.unsettled:.2g} nats per row, by which the "
                "approximation gap above is too large, or more: take more steps"
            )
        return "\n".join(text)

    __repr__ = __str__


def gap_report(
    model: LatentModel, x: Any, samples: int = 1000, steps: int = 500, particles: int = 8, seed: int = 0
) -> GapReport:
    """Where the bound of a model with a continuous latent variable is lost (Cremer, Li & Duvenaud, ICML 2018).

    samples: draws of z with which each row's bounds and, where it has no closed form, its evidence are estimated; the
    evidence from the best q, which needs the fewest. steps, particles: of Adam, for each row's own q, started at the
    encoder's, and draws at each. Costs about n * (steps * particles + 2 * samples) evaluations of the decoder, so that
    a few hundred rows say enough. The model is left as it is. Raises TypeError for a discrete latent: see `elbo_gap`.
    """
    for name, value in (("samples", samples), ("steps", steps), ("particles", particles)):
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
    require_model(model)
    rows = as_rows(x, model=model)
    own, better, means, divergences, won = [], [], [], [], 0.0
    with evaluation_mode(model), fixed_seed(seed, gpus(model)):
        for chunk in rows.chunks(max(1, CELLS // (particles * max(rows.features, 256)))):
            q = model.posterior(chunk.x)
            require_continuous(q)
            best, last = best_q(model, chunk.x, q, steps, particles)
            won += last
            own.append(evidence(model, chunk.x, samples, seed + len(own)))  # errors of chunks are independent
            better.append(evidence(model, chunk.x, samples, seed + len(better), best))
            means.append(q.mean)
            divergences.append(kl_to_prior(q))
    closed = None if divergences[0] is None else torch.cat(divergences).double().mean(0).cpu()
    mean = torch.cat(means).double().cpu()
    activity = mean.var(0, correction=min(1, len(mean) - 1))
    return GapReport(joined(own), joined(better), won / len(mean), closed, activity)


def best_q(model: LatentModel, x: Tensor, q: Distribution, steps: int, particles: int) -> tuple[Distribution, float]:
    """The q(z | x) of each row with the highest ELBO in the family of `q`, by Adam from there, its steps falling from a
    tenth of a prior standard deviation to a ten-thousandth; and what the ELBO of all rows rose by from the last tenth
    but one of the steps to the last."""

    def held_still(q: Distribution) -> Distribution:
        return rebuilt(q, {name: value.detach() for name, value in parameters_of(q).items()})

    losses = []
    movable = Movable(q)
    free = list(movable.free.values())
    # eps: near the top steps shrink with the slope, in nats, instead of keeping their size
    optimizer = torch.optim.Adam(free, lr=0.1, eps=0.1)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 * 0.001 ** (step / steps)
        current = movable.distribution()
        z = current.rsample((particles,))
        # q's own density held still: the gradient has the same mean, and no noise where q is the posterior (Roeder, Wu
        # & Duvenaud, NeurIPS 2017, "sticking the landing")
        loss = -(log_joint(model, x, z) - held_still(current).log_prob(z)).mean(0).sum()
        for tensor, slope in zip(free, torch.autograd.grad(loss, free), strict=True):
            tensor.grad = slope
        optimizer.step()
        losses.append(float(loss.detach()))
    tenth = max(1, steps // 10)
    before, last = losses[-2 * tenth : -tenth] or losses[:1], losses[-tenth:]
    return movable.distribution(), sum(before) / len(before) - sum(last) / len(last)
