"""Stochastic variational inference: gradient steps on the same bound that EM raises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any, Literal, get_args

import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch import Tensor

from ...data.chunk import Chunk
from ...models import LatentModel, Rows, SupportsPosterior
from .convergence import MIN_TAIL, NOISE_FACTOR, PATIENCE, STEPS_DECAYED, NO_PROGRESS
from .data_bound import data_bound
from .collectives import average, synchronize
from .svi_objectives import analytic, importance

LIFTED = 40.0  # where a parameter on its boundary starts, unconstrained: 4e-18 from the boundary, too little to matter
LEARNING_RATE = 0.05  # of models that say nothing else

Estimator = Literal["sampled", "enumerated", "exact", "analytic", "importance"]
NOISELESS = ("enumerated", "exact")
BY_DRAWS = ("analytic", "importance")  # of a continuous z, through `draws`
Loss = Callable[..., Tensor]


@dataclass(frozen=True)
class SVI:
    """Stochastic variational inference by Adam on the model's parameters, all at once, in the units of the data.

    elbo: "sampled": Pyro's `Trace_ELBO`, z drawn from the guide, for every model. For a discrete z also "enumerated":
    `TraceEnum_ELBO`, z summed out by Pyro; where the bound has a closed form "exact": without Pyro's tracing. For an
    exact guide these three have the same mean gradient. For a continuous z, without Pyro's tracing, "analytic":
    E_q[log p(x | z)] by draws minus KL(q || p(z)) in closed form, and "importance": log of the mean importance weight
    of the draws, a higher bound with more of them (IWAE).
    learning_rate: Adam's first step, a fraction of a column's spread, None for what the model says (its attribute
    `learning_rate`, else 0.05); it falls geometrically to `decay` times that by the last pass, which is what quiets the
    noise of sampling. batch_size: rows per step, None for all of them (of
    each process, where several share the table: their gradients are averaged).
    particles: draws of z for each row and step. warm_up: passes in which the weight of the KL rises evenly from 0 to 1;
    free_bits: nats of each latent dimension that its KL may have for nothing (both "analytic" only; the bounds that are
    reported are the ELBO all the same).
    tol: nats per row. Without noise (all rows, "enumerated" or "exact") stop when 50 passes in a row have not raised
    the best bound by this much; 0.0 runs all passes, as does every noisy run, which has converged if its last tenth of
    passes raised the best bound by less than 1000 tol.

    A step on 1024 rows of a Gaussian mixture takes, beside a loop written by hand in torch, as long to 1.4 times as
    long for "exact", 2 to 8 times as long for "sampled" and "enumerated", most where there is least to compute
    (`benchmarks/svi_step.py`). `pyro.enable_validation(False)` saves these two a twentieth to a quarter: Pyro then no
    longer looks for NaN and for parameters outside their constraints; what `fit` checks it checks all the same.
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
        if not ((self.learning_rate is None or self.learning_rate > 0) and 0 < self.decay <= 1 and self.tol >= 0):
            raise ValueError(
                f"learning_rate, decay and tol are {self.learning_rate!r}, {self.decay!r} and {self.tol!r}, expected a "
                "positive rate, a factor in (0, 1] and nats per row of at least 0"
            )
        sizes = [self.particles] if self.batch_size is None else [self.particles, self.batch_size]
        if not all(isinstance(size, Integral) and size >= 1 for size in sizes):
            raise ValueError(
                f"particles and batch_size are {self.particles!r} and {self.batch_size!r}, expected whole numbers of "
                "at least 1"
            )
        if self.particles > 1 and self.elbo in NOISELESS:
            raise ValueError(f"particles is {self.particles!r}, but elbo={self.elbo!r} draws none: leave it out")
        if not (self.warm_up >= 0 and self.free_bits >= 0):
            raise ValueError(
                f"warm_up and free_bits are {self.warm_up!r} and {self.free_bits!r}, expected passes and nats of at "
                "least 0"
            )
        if (self.warm_up or self.free_bits) and self.elbo != "analytic":
            raise ValueError(
                f'warm_up and free_bits are for elbo="analytic", where the KL is a term, not {self.elbo!r}'
            )

    def passes(self, model: LatentModel, rows: Rows, max_passes: int, generator: torch.Generator) -> SVISteps:
        """Yield the bound, nats per row, of the model as it stands, then improve it in place; and so on."""
        self._require_fitting(model)
        require_batches(self, rows)
        return SVISteps(self, model, rows, max_passes, generator)

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """The reason to stop after these bounds, or None."""
        if self.elbo not in NOISELESS or self.batch_size is not None:
            tail = max(1, max_passes // 10)
            arrived = len(bounds) == max_passes and len(bounds) > tail
            level = arrived and tail >= MIN_TAIL and max(bounds) - bounds[-1] < NOISE_FACTOR * self.tol
            if level and max(bounds) - max(bounds[:-tail]) < NOISE_FACTOR * self.tol:
                return STEPS_DECAYED.format(percent=100 * self.decay, tol=NOISE_FACTOR * self.tol, tail=tail)
            return None
        if self.tol > 0 and len(bounds) > 2 * PATIENCE and max(bounds) - max(bounds[:-PATIENCE]) < self.tol:
            return NO_PROGRESS.format(tol=self.tol, passes=PATIENCE)
        return None

    def _require_fitting(self, model: LatentModel) -> None:
        continuous, name = hasattr(model, "draws"), type(model).__name__
        if self.elbo in BY_DRAWS and not continuous:
            raise TypeError(
                f"elbo={self.elbo!r} draws a continuous z, which {name} does not have: take "
                '"sampled", "enumerated" or "exact"'
            )
        if self.elbo == "enumerated" and continuous:
            raise TypeError(f"elbo='enumerated' sums over a discrete z, which {name} does not have: take \"sampled\"")
        if self.elbo == "exact" and not getattr(model, "has_exact_bound", True):
            raise TypeError(f"the bound of {name} has no closed form, as elbo='exact' expects: take \"analytic\"")

    def _loss(self, model: LatentModel, number: int) -> Loss:
        """The negative bound of rows standing for n, as (x, weights, labels, n) -> (): made anew for each pass.

        number: of the pass, from 0, for losses that change on the way.
        """
        if self.elbo == "exact":
            return partial(_exact, model)
        if self.elbo in BY_DRAWS:
            climb = importance
            if self.elbo == "analytic":
                weight = min(1.0, number / self.warm_up) if self.warm_up else 1.0
                climb = partial(analytic, divergence_weight=weight, free_bits=self.free_bits)

            def by_draws(x, weights, labels, n):
                draws = model.draws(x, self.particles, trusted=True)  # type: ignore[reportAttributeAccessIssue]
                own = draws.log_likelihood
                weights = own.new_ones(len(x)) if weights is None else weights.to(own)
                return -(climb(draws, weights) * (n / len(x)) + model.global_term().to(own))

            return by_draws
        if self.elbo == "sampled":
            # Pyro's vectorized particles are a dim before that of rows, where parameters that are drawn have none
            many = self.particles > 1 and not isinstance(model, SupportsPosterior)
            elbo = Trace_ELBO(num_particles=self.particles, vectorize_particles=many, max_plate_nesting=1)
            guide = model.guide
        else:
            # enumerated in the guide: in the model, Pyro would refuse a weight for each row
            elbo, guide = TraceEnum_ELBO(max_plate_nesting=1), config_enumerate(model.guide)

        def traced(x, weights, labels, n):
            return elbo.differentiable_loss(model.model, guide, x, weights, labels, n)

        return traced


def require_batches(engine: Any, rows: Rows) -> None:
    """Raise ValueError if rows come in batches of another size than the engine's."""
    if rows.in_batches not in (None, engine.batch_size):
        raise ValueError(
            f"got a DataLoader with batches of {rows.in_batches} rows and batch_size={engine.batch_size}, expected "
            f"the same: pass {type(engine).__name__}(batch_size={rows.in_batches})"
        )


class SVISteps:
    """The passes of SVI over one data set: what `SVI.passes` returns. Made before the clock of the passes starts, which
    then does not count what torch imports for Adam."""

    def __init__(self, engine: SVI, model: LatentModel, rows: Rows, max_passes: int, generator: torch.Generator):
        self.engine, self.model, self.rows, self.generator = engine, model, rows, generator
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if isinstance(model, torch.nn.Module):
            model.train()  # dropout and batch statistics as in training, however the model comes
        for parameter in self.parameters:  # probabilities of 0 or 1, rates of 0: gradients cannot move what is infinite
            parameter.data = torch.where(parameter.isinf(), LIFTED * parameter.sign(), parameter).detach()
        said = engine.learning_rate
        self.rate: float = getattr(model, "learning_rate", LEARNING_RATE) if said is None else said
        self.optimizer = torch.optim.Adam([{"params": self.parameters}], lr=self.rate, fused=True)
        self.all_steps = max_passes * (1 if engine.batch_size is None else rows.steps(engine.batch_size))
        self.passes = 0  # yielded
        self.steps = 0  # of the optimizer

    def __iter__(self) -> SVISteps:
        return self

    def __next__(self) -> Tensor:
        if self.passes > 0:
            self._improve(self.passes - 1)
        self.passes += 1
        return data_bound(self.model, self.rows)

    def state_dict(self) -> dict[str, Tensor]:
        """The counts of passes and steps, and Adam's two moments of each parameter."""
        moments = self.optimizer.state_dict()["state"]
        flat = {f"{number}.{name}": value for number, own in moments.items() for name, value in own.items()}
        return {"passes": torch.tensor(self.passes), "steps": torch.tensor(self.steps), **flat}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there, with a model that is as it was there."""
        self.passes, self.steps = int(state["passes"]), int(state["steps"])
        moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for key, value in state.items():
            number, dot, name = key.partition(".")
            if dot:
                moments[int(number)][name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": dict(moments), "param_groups": groups})

    def _improve(self, number: int) -> None:
        """Pass `number`, from 0: one optimizer step for each batch."""
        loss = self.engine._loss(self.model, number)
        for seen, batch in self._batches():
            self.optimizer.param_groups[0]["lr"] = self.rate * self.engine.decay ** (self.steps / self.all_steps)
            for parameter in self.parameters:  # as zero_grad() does, which asks a profiler first
                parameter.grad = None
            for chunk in batch:
                x, weights, labels = chunk.arguments
                (len(x) / seen / self.rows.total_weight * loss(x, weights, labels, self.rows.positive)).backward()
            if self.rows.processes > 1:
                self._average(seen)
            self.optimizer.step()
            self.steps += 1
        if self.rows.processes > 1:
            synchronize(getattr(self.model, "buffers", list)())  # such as the running means of batch normalization

    def _average(self, seen: int) -> None:
        """The gradients of all processes to their mean, each counting with the rows it has seen."""
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        for parameter, gradient in zip(self.parameters, own, strict=True):
            parameter.grad = gradient
        average(own, seen)

    def _batches(self) -> Iterator[tuple[int, Iterable[Chunk]]]:
        """For each optimizer step how many rows it takes, and these in chunks."""
        if self.engine.batch_size is None:
            yield self.rows.here, self.rows.chunks()
        else:
            for batch in self.rows.batches(self.engine.batch_size, self.generator):
                yield len(batch.x), [batch]


def _exact(model: LatentModel, x: Tensor, weights: Tensor | None, labels: Tensor | None, n: float) -> Tensor:
    """The negative bound of rows standing for n, in closed form."""
    local = model.objective(x, labels)
    local = local.sum() if weights is None else local @ weights.to(local)
    return -(local * (n / len(x)) + model.global_term())
