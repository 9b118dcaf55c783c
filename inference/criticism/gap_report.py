"""`gap_report`: what a VAE loses below log p(x), split into approximation and amortization, and unused dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...data.rows import as_rows
from ...models import LatentModel
from ...models.continuous.draws import kl_to_prior
from ...models.continuous.networks import evaluation_mode
from ...models.random_state import fixed_seed, gpus
from ..engines.gradient_mode import gradients_enabled
from ..fitting.fit_arguments import require_model
from .best_q_of_rows import maximize_elbo
from .evidence import CELLS, Evidence, concatenated, evidence, require_continuous

UNCONVERGED = 0.02  # nats per row gained in the last tenth of the search, above which the report says so
ACTIVE = 0.01  # variance over rows of a posterior mean above which a latent dimension is in use (Burda et al. 2016)


@dataclass(frozen=True, repr=False)
class GapReport:
    """evidence - elbo = approximation + amortization for each row, in nats: what `gap_report` returns.

    Attributes:
        encoder: log p(x) and the ELBO under the encoder's q(z | x).
        best: The same under the best q of the encoder's family, optimized for each row alone. Its estimate of log p(x)
            has the smaller error (see `Evidence`).
        unsettled: Nats per row that the search for the best q still gained in the last tenth of its steps. Above 0.02
            the search had not converged, and the approximation gap is too large by this much or more.
        divergence: (latent,) the mean over rows of KL(q(z_j | x) || p(z_j)) in nats; (1,) for all dimensions together
            where they are dependent under q; None where it has no closed form.
        activity: (latent,) the variance over rows of E_q[z_j | x].

    Example:
        >>> from lowerbound.inference import EM, fit, gap_report
        >>> from lowerbound.models import PPCA
        >>> x = [[0.0, 0.1], [1.0, 0.8], [2.0, 2.3], [3.0, 2.9]]
        >>> model = fit(PPCA(2, 1), x, EM(), restarts=1, max_passes=20).model
        >>> report = gap_report(model, x, samples=20, steps=10)
        >>> report.active
        tensor([True])
        >>> list(report.frame())
        ['evidence', 'elbo', 'best_elbo', 'approximation', 'amortization']
    """

    encoder: Evidence
    best: Evidence
    unsettled: float
    divergence: Float[Tensor, " _"] | None
    activity: Float[Tensor, " q"]

    @property
    def evidence(self) -> Float[Tensor, " n"]:
        """(n,) log p(x) in nats, as estimated from the best q."""
        return self.best.log_evidence

    @property
    def elbo(self) -> Float[Tensor, " n"]:
        """(n,) the ELBO under the encoder's q, in nats."""
        return self.encoder.elbo

    @property
    def approximation(self) -> Float[Tensor, " n"]:
        """(n,) evidence - best.elbo: the gap that no encoder with this family of q can close."""
        return self.evidence - self.best.elbo

    @property
    def amortization(self) -> Float[Tensor, " n"]:
        """(n,) best.elbo - elbo: the loss from one network for all rows, against a q optimized for each row."""
        return self.best.elbo - self.elbo

    @property
    def active(self) -> Bool[Tensor, " q"]:
        """(latent,) which latent dimensions are in use: activity above 0.01 (Burda, Grosse & Salakhutdinov 2016)."""
        return self.activity > ACTIVE

    @property
    def warning(self) -> str | None:
        """One sentence if latent dimensions have collapsed onto the prior, else None."""
        unused = int((~self.active).sum())
        if not unused or len(self.elbo) == 1:  # one row has no variance
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
        """One line for each row, in nats: evidence, elbo, best_elbo, approximation, amortization."""
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
        if self.unsettled > UNCONVERGED:
            text.append(
                f"the search for the best q has not converged: its last tenth still gained {self.unsettled:.2g} nats "
                "per row, and the approximation gap above is too large by at least that: raise steps"
            )
        return "\n".join(text)

    __repr__ = __str__


@gradients_enabled()
def gap_report(
    model: LatentModel, x: Any, samples: int = 1000, steps: int = 500, particles: int = 8, seed: int = 0
) -> GapReport:
    """log p(x) - ELBO of each row, split into the approximation gap and the amortization gap, for a continuous latent.

    The approximation gap is what the best q(z | x) of the encoder's family loses; the amortization gap is what the
    encoder loses besides. Cremer, Li & Duvenaud, Inference suboptimality in variational autoencoders, ICML 2018.

    It costs about n * (steps * particles + 2 * samples) evaluations of the decoder: take a few hundred rows. The model
    is left as it is.

    Args:
        model: A model with a continuous latent variable, such as a `VAE`.
        x: (n, d) rows, as `fit` takes them, without row weights.
        samples: Draws of z for each row, which estimate its bounds and, where it has no closed form, log p(x).
        steps: Steps of Adam for the best q of each row, from the encoder's q.
        particles: Draws of z for each row in each step.
        seed: The same seed gives the same numbers.

    Returns:
        A `GapReport`: print it, or take its numbers from `frame()`.

    Raises:
        TypeError: `model` is not a model, or its latent variable is discrete: use `elbo_gap`.
        ValueError: `samples`, `steps` or `particles` is below 1.

    Example:
        >>> from lowerbound.inference import EM, fit, gap_report
        >>> from lowerbound.models import PPCA
        >>> x = [[0.0, 0.1], [1.0, 0.8], [2.0, 2.3], [3.0, 2.9]]
        >>> model = fit(PPCA(2, 1), x, EM(), restarts=1, max_passes=20).model
        >>> report = gap_report(model, x, samples=20, steps=10)
        >>> float(report.amortization.abs().max()) < 0.01  # the guide of PPCA is the exact posterior
        True
    """
    for name, value in (("samples", samples), ("steps", steps), ("particles", particles)):
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
    require_model(model)
    rows = as_rows(x, model=model)
    own, best, means, divergences, gained = [], [], [], [], 0.0
    with evaluation_mode(model), fixed_seed(seed, gpus(model)):
        for chunk in rows.chunks(max(1, CELLS // (particles * max(rows.features, 256)))):
            q = model.posterior(chunk.x)
            require_continuous(q)
            best_q, gain = maximize_elbo(model, chunk.x, q, steps, particles)
            gained += gain
            # seeds differ between chunks: their errors are independent
            own.append(evidence(model, chunk.x, samples, seed + len(own)))
            best.append(evidence(model, chunk.x, samples, seed + len(best), best_q))
            means.append(q.mean)
            divergences.append(kl_to_prior(q))
    closed = None if divergences[0] is None else torch.cat(divergences).double().mean(0).cpu()
    mean = torch.cat(means).double().cpu()
    activity = mean.var(0, correction=min(1, len(mean) - 1))
    return GapReport(concatenated(own), concatenated(best), gained / len(mean), closed, activity)
