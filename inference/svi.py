"""Stochastic variational inference: gradient steps on the same bound that EM raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch import Tensor

from ..models import LatentModel, Rows
from .evaluate import data_bound
from .stopping import NOISY, PATIENCE, SETTLED, STALL

LIFTED = 40.0  # where a parameter on its boundary starts, unconstrained: 4e-18 from the boundary, too little to matter

Estimator = Literal["sampled", "enumerated", "exact"]
Loss = Callable[..., Tensor]


@dataclass(frozen=True)
class SVI:
    """Stochastic variational inference by Adam on the model's parameters, all at once, in the units of the data.

    elbo: "sampled": Pyro's `Trace_ELBO`, z drawn from the guide; "enumerated": `TraceEnum_ELBO`, z summed out by Pyro;
    "exact": the bound in closed form, without Pyro's tracing. For an exact guide the three have the same mean gradient.
    learning_rate: Adam's first step, a fraction of a column's spread; it falls geometrically to `decay` times that by
    the last pass, which is what quiets the noise of sampling. batch_size: rows per step, None for all of them.
    particles: draws of z per step ("sampled").
    tol: nats per row. Without noise (all rows, and not "sampled") stop when 50 passes in a row have not raised the best
    bound by this much; 0.0 runs all passes, as does every noisy run, which has converged if its last tenth of passes
    raised the best bound by less than 1000 tol.
    """

    elbo: Estimator = "sampled"
    learning_rate: float = 0.05
    batch_size: int | None = None
    particles: int = 1
    decay: float = 0.01
    tol: float = 1e-7

    def __post_init__(self):
        if self.elbo not in get_args(Estimator):
            raise ValueError(f"elbo is {self.elbo!r}, expected one of {', '.join(map(repr, get_args(Estimator)))}")
        if not (self.learning_rate > 0 and 0 < self.decay <= 1 and self.tol >= 0):
            raise ValueError(
                f"learning_rate, decay and tol are {self.learning_rate!r}, {self.decay!r} and {self.tol!r}, expected a "
                "positive rate, a factor in (0, 1] and nats per row of at least 0"
            )
        if not (self.particles >= 1 and (self.batch_size is None or self.batch_size >= 1)):
            raise ValueError(
                f"particles and batch_size are {self.particles!r} and {self.batch_size!r}, expected at least 1"
            )

    def passes(self, model: LatentModel, rows: Rows, max_passes: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the bound, nats per row, of the model as it stands, then improve it in place; and so on."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        for parameter in parameters:  # probabilities of 0 or 1, rates of 0: gradients cannot move what is infinite
            parameter.data = torch.where(parameter.isinf(), LIFTED * parameter.sign(), parameter).detach()
        if rows.in_batches not in (None, self.batch_size):
            raise ValueError(
                f"got a DataLoader with batches of {rows.in_batches} rows and batch_size={self.batch_size}, expected "
                f"the same: pass SVI(batch_size={rows.in_batches})"
            )
        n = rows.positive
        steps = 1 if self.batch_size is None else -(-n // self.batch_size)
        optimizer = torch.optim.Adam(parameters, lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, self.decay ** (1 / (max_passes * steps)))
        loss = self._loss(model)

        def climb() -> Iterator[Tensor]:
            while True:
                yield data_bound(model, rows)
                for step in self._steps(rows, generator):
                    optimizer.zero_grad()
                    seen = sum(len(chunk.x) for chunk in step)
                    for chunk in step:
                        x, weights, labels = chunk.arguments
                        stands_for = seen if self.batch_size is None else n
                        (len(x) / seen / rows.total_weight * loss(x, weights, labels, stands_for)).backward()
                    optimizer.step()
                    schedule.step()

        return climb()  # set up here, so that the clock of the passes does not count what torch imports for Adam

    def stop(self, bounds: list[float], max_passes: int) -> str | None:
        """The reason to stop after these bounds, or None."""
        if self.elbo == "sampled" or self.batch_size is not None:
            tail = max(1, max_passes // 10)
            arrived = len(bounds) == max_passes and len(bounds) > tail
            if arrived and max(bounds) - max(bounds[:-tail]) < NOISY * self.tol:
                return SETTLED.format(percent=100 * self.decay, tol=NOISY * self.tol, tail=tail)
            return None
        if self.tol > 0 and len(bounds) > 2 * PATIENCE and max(bounds) - max(bounds[:-PATIENCE]) < self.tol:
            return STALL.format(tol=self.tol)
        return None

    def _steps(self, rows: Rows, generator: torch.Generator):
        """Lists of chunks, one list for each optimizer step."""
        if self.batch_size is None:
            yield [chunk for chunk in rows.chunks() if chunk.weights is None or bool(chunk.weights.any())]
        else:
            for batch in rows.batches(self.batch_size, generator):
                yield [batch]

    def _loss(self, model: LatentModel) -> Loss:
        """The negative bound of rows standing for n, as (x, weights, labels, n) -> ()."""
        if self.elbo == "exact":

            def exact(x, weights, labels, n):
                local = model.objective(x, labels)
                local = local.sum() if weights is None else local @ weights
                return -(local * (n / len(x)) + model.global_term())

            return exact
        if self.elbo == "sampled":
            elbo, guide = Trace_ELBO(num_particles=self.particles), model.guide
        else:
            # enumerated in the guide: in the model, Pyro would refuse a weight for each row
            elbo, guide = TraceEnum_ELBO(max_plate_nesting=1), config_enumerate(model.guide)

        def traced(x, weights, labels, n):
            return elbo.differentiable_loss(model.model, guide, x, weights, labels, n)

        return traced
