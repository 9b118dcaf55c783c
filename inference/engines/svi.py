"""SVI: stochastic variational inference, gradient steps on the same bound that EM raises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, get_args

import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch import Tensor

from ...models import LatentModel, Rows, SupportsPosterior
from ...models.abilities import HasContinuousLatent, HasExactBound, HasLearningRate
from ...models.param_store import one_pyro_program
from .contract import require_batch_size
from .convergence import MIN_TAIL, NO_PROGRESS, NOISE_FACTOR, PATIENCE, STEPS_DECAYED
from .svi_objectives import analytic, importance
from .svi_steps import Loss, SVISteps

LEARNING_RATE = 0.05  # of models that do not name one

Estimator = Literal["sampled", "enumerated", "exact", "analytic", "importance"]
WITHOUT_NOISE = ("enumerated", "exact")
BY_DRAWS = ("analytic", "importance")  # estimators that draw a continuous z by `model.draws`


@dataclass(frozen=True)
class SVI:
    """Stochastic variational inference: Adam's steps up the gradient of the lower bound, for every model.

    All parameters move at once, in the units of the data, so that the result does not depend on those units. The
    bounds of a fit are always the lower bound of all rows, whatever estimator the steps use.

    Args:
        elbo: The estimator of the bound whose gradient is taken.
            "sampled": Pyro's `Trace_ELBO`, with z drawn from the guide. For every model.
            "enumerated": Pyro's `TraceEnum_ELBO`, with a discrete z summed out.
            "exact": the closed form of the bound where there is one, without Pyro's tracing. With an exact guide these
            three have the same mean gradient.
            "analytic": for a continuous z, E_q[log p(x | z)] by draws minus KL(q || p(z)) in closed form.
            "importance": for a continuous z, the log of the mean importance weight of the draws, a tighter bound with
            more of them (IWAE).
        learning_rate: Adam's first step, as a fraction of a column's spread. None takes the model's own
            (`model.learning_rate`), or 0.05.
        batch_size: Rows in each step; None for all of them. In a job of several processes each reads that many, and the
            gradients are averaged.
        particles: Draws of z for each row and step, of the estimators that draw.
        decay: The learning rate falls geometrically to `decay` times its first value by the last pass, which reduces
            the noise of sampling.
        tol: Nats per row. Without noise (all rows, "enumerated" or "exact") stop when the best bound has risen by less
            than this in 50 passes; 0.0 runs all passes. A noisy run makes all passes, and counts as converged if its
            last tenth of passes raised the best bound by less than 1000 tol.
        warm_up: Passes in which the weight of the KL rises evenly from 0 to 1 ("analytic" only).
        free_bits: Nats of KL that each latent dimension has for free ("analytic" only).

    Raises:
        ValueError: A setting is out of its range, or does not fit the estimator.

    Example:
        >>> import torch
        >>> from lowerbound.inference import SVI, fit
        >>> from lowerbound.models import GaussianMixture
        >>> x = torch.tensor([[0.0], [0.2], [0.7], [1.1], [4.0], [4.3], [4.4], [5.0]])
        >>> fitted = fit(GaussianMixture(2, 1), x, SVI("exact", learning_rate=0.2), max_passes=60)
        >>> round(float(fitted.bounds[-1]), 2)
        -1.18

    References:
        Hoffman, Blei, Wang & Paisley, Stochastic variational inference, Journal of Machine Learning Research 14 (2013),
        1303-1347. Kingma & Ba, Adam: a method for stochastic optimization, ICLR 2015.

    Note:
        A step on 1024 rows of a Gaussian mixture takes 1 to 1.4 times as long as a loop written by hand in torch for
        "exact", and 2 to 8 times as long for "sampled" and "enumerated", most where there is least to compute
        (`benchmarks/svi_step.py`). `pyro.enable_validation(False)` makes these two 5 to 25 % faster: Pyro then no
        longer checks for NaN and for parameters outside their constraints; `fit` still checks its input and the bound.
    """

    elbo: Estimator = "sampled"
    learning_rate: float | None = None
    batch_size: int | None = None
    particles: int = 1
    decay: float = 0.01
    tol: float = 1e-7
    warm_up: int = 0
    free_bits: float = 0.0

    def __post_init__(self):
        if self.elbo not in get_args(Estimator):
            raise ValueError(f"elbo is {self.elbo!r}, expected one of {', '.join(map(repr, get_args(Estimator)))}")
        rate = 1.0 if self.learning_rate is None else self.learning_rate
        size = 1 if self.batch_size is None else self.batch_size
        for name, fits, expected in (
            ("learning_rate", _is_real(rate) and 0 < rate < math.inf, "a positive, finite number, or None"),
            ("decay", _is_real(self.decay) and 0 < self.decay <= 1, "a factor in (0, 1]"),
            ("tol", _is_real(self.tol) and self.tol >= 0, "nats per row of at least 0"),
            ("particles", _is_whole(self.particles), "a whole number of at least 1"),
            ("batch_size", _is_whole(size), "a whole number of rows of at least 1, or None"),
            ("warm_up", _is_real(self.warm_up) and 0 <= self.warm_up < math.inf, "passes, a number of at least 0"),
            ("free_bits", _is_real(self.free_bits) and 0 <= self.free_bits < math.inf, "nats, a number of at least 0"),
        ):
            if not fits:
                raise ValueError(f"{name} is {vars(self)[name]!r}, expected {expected}")
        if self.particles > 1 and self.elbo in WITHOUT_NOISE:
            raise ValueError(
                f"particles is {self.particles!r}, but elbo={self.elbo!r} draws nothing: leave particles out"
            )
        if (self.warm_up or self.free_bits) and self.elbo != "analytic":
            raise ValueError(
                f'warm_up and free_bits are for elbo="analytic", where the KL is a term, not {self.elbo!r}'
            )

    def passes(self, model: LatentModel, rows: Rows, max_passes: int, generator: torch.Generator) -> SVISteps:
        """The passes of SVI over these rows, as `Engine.passes` describes them."""
        self._require_suitable(model)
        require_batch_size(self, rows)
        rate = self.learning_rate
        if rate is None:
            rate = model.learning_rate if isinstance(model, HasLearningRate) else LEARNING_RATE
        losses = partial(self.loss_of_pass, model)
        return SVISteps(model, rows, generator, losses, max_passes, self.batch_size, rate, self.decay)

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """The reason to stop after these bounds, or None."""
        if self.elbo not in WITHOUT_NOISE or self.batch_size is not None:
            tail = max(1, max_passes // 10)
            at_end = len(bounds) == max_passes and len(bounds) > tail
            near_best = at_end and tail >= MIN_TAIL and max(bounds) - bounds[-1] < NOISE_FACTOR * self.tol
            if near_best and max(bounds) - max(bounds[:-tail]) < NOISE_FACTOR * self.tol:
                return STEPS_DECAYED.format(percent=100 * self.decay, tol=NOISE_FACTOR * self.tol, tail=tail)
            return None
        if self.tol > 0 and len(bounds) > 2 * PATIENCE and max(bounds) - max(bounds[:-PATIENCE]) < self.tol:
            return NO_PROGRESS.format(tol=self.tol, passes=PATIENCE)
        return None

    def _require_suitable(self, model: LatentModel) -> None:
        """Raise TypeError if the estimator does not suit the latent variable or the bound of the model."""
        continuous, name = isinstance(model, HasContinuousLatent), type(model).__name__
        if self.elbo in BY_DRAWS and not continuous:
            raise TypeError(
                f"elbo={self.elbo!r} draws a continuous z, which {name} does not have: take "
                '"sampled", "enumerated" or "exact"'
            )
        if self.elbo == "enumerated" and continuous:
            raise TypeError(f"elbo='enumerated' sums over a discrete z, which {name} does not have: take \"sampled\"")
        if self.elbo == "exact" and isinstance(model, HasExactBound) and not model.has_exact_bound:
            raise TypeError(f"the bound of {name} has no closed form, as elbo='exact' expects: take \"analytic\"")

    def loss_of_pass(self, model: LatentModel, number: int) -> Loss:
        """The loss of pass `number`, from 0: (x, weights, labels, n) -> the negative bound of x, scaled to n rows."""
        if self.elbo == "exact":
            return partial(_exact, model)
        if self.elbo in BY_DRAWS:
            objective = importance
            if self.elbo == "analytic":
                weight = min(1.0, number / self.warm_up) if self.warm_up else 1.0
                objective = partial(analytic, divergence_weight=weight, free_bits=self.free_bits)

            def by_draws(x, weights, labels, n):
                draws = model.draws(x, self.particles, trusted=True)  # type: ignore[reportAttributeAccessIssue]
                own = draws.log_likelihood
                weights = own.new_ones(len(x)) if weights is None else weights.to(own)
                return -(objective(draws, weights) * (n / len(x)) + model.global_term().to(own))

            return by_draws
        if self.elbo == "sampled":
            # Pyro's vectorized particles add a dim before that of rows, which drawn parameters do not have
            many = self.particles > 1 and not isinstance(model, SupportsPosterior)
            elbo = Trace_ELBO(num_particles=self.particles, vectorize_particles=many, max_plate_nesting=1)
            guide = model.guide
        else:
            # in the guide, since Pyro refuses weights of single rows where the model enumerates
            elbo, guide = TraceEnum_ELBO(max_plate_nesting=1), config_enumerate(model.guide)

        def traced(x, weights, labels, n):
            with one_pyro_program():
                return elbo.differentiable_loss(model.model, guide, x, weights, labels, n)

        return traced


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _exact(model: LatentModel, x: Tensor, weights: Tensor | None, labels: Tensor | None, n: float) -> Tensor:
    """The negative bound of x in closed form, scaled to n rows."""
    local = model.objective(x, labels)
    local = local.sum() if weights is None else local @ weights.to(local)
    return -(local * (n / len(x)) + model.global_term())
