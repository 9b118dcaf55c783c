"""The passes of SVI over one table: Adam's steps, as an iterator whose state a checkpoint can store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from ...data.chunk import Chunk
from ...models import LatentModel, Rows
from ...models.abilities import is_module
from .collectives import average, synchronize
from .contract import require_shape
from .data_bound import data_bound

LIFTED = 40.0  # where a parameter on its boundary starts, unconstrained: 4e-18 from the boundary, too little to matter

Loss = Callable[..., Tensor]  # (x, weights, labels, n) -> the negative bound of these rows, scaled to n rows


class SVISteps:
    """The passes of SVI over one table: what `SVI.passes` returns.

    Adam is made in the constructor, before the clock of the passes starts: torch imports a lot for it.

    loss_of_pass: gives the loss of each pass by its number, from 0. rate: Adam's first step; it falls geometrically to
    `decay` times that by the last pass. batch_size: None for all rows at once.
    """

    def __init__(
        self,
        model: LatentModel,
        rows: Rows,
        generator: torch.Generator,
        loss_of_pass: Callable[[int], Loss],
        max_passes: int,
        batch_size: int | None,
        rate: float,
        decay: float,
    ):
        self.model, self.rows, self.generator, self.loss_of_pass = model, rows, generator, loss_of_pass
        self.batch_size, self.rate, self.decay = batch_size, rate, decay
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if is_module(model):
            # dropout and batch normalization must be in training mode
            model.train()  # type: ignore[reportAttributeAccessIssue]
        for parameter in self.parameters:  # probabilities of 0 or 1, rates of 0: no gradient moves an infinite value
            parameter.data = torch.where(parameter.isinf(), LIFTED * parameter.sign(), parameter).detach()
        self.optimizer = torch.optim.Adam([{"params": self.parameters}], lr=self.rate, fused=True)
        self.all_steps = max_passes * (1 if batch_size is None else rows.steps(batch_size))
        self.passes = 0  # bounds that were yielded
        self.steps = 0  # of the optimizer

    def __iter__(self) -> SVISteps:
        return self

    def __next__(self) -> Tensor:
        try:
            if self.passes > 0:
                self._improve(self.passes - 1)
            self.passes += 1
            return data_bound(self.model, self.rows)
        except (ValueError, RuntimeError) as error:
            if not self._has_diverged(error):
                raise
            raise ArithmeticError(
                f"the parameters left the range of floating-point numbers after {self.steps} "
                f"step{'s' if self.steps != 1 else ''} of SVI with learning_rate={self.rate:g}: rescale the data, or "
                "take a smaller learning_rate"
            ) from error

    def state_dict(self) -> dict[str, Tensor]:
        """The numbers of passes and steps, and Adam's two moments of each parameter."""
        moments = self.optimizer.state_dict()["state"]
        flat = {f"{number}.{name}": value for number, own in moments.items() for name, value in own.items()}
        return {"passes": torch.tensor(self.passes), "steps": torch.tensor(self.steps), **flat}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore that state, for a model whose own state is restored."""
        self.passes, self.steps = int(state["passes"]), int(state["steps"])
        moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for key, value in state.items():
            number, dot, name = key.partition(".")
            if dot:
                moments[int(number)][name] = value
        for at, own in moments.items():
            for name in ("exp_avg", "exp_avg_sq"):  # Adam in C++ does not compare them with the parameter
                require_shape(own[name], self.parameters[at], name)
            require_shape(own["step"], torch.zeros(()), "step")
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": dict(moments), "param_groups": groups})

    def _has_diverged(self, error: Exception) -> bool:
        """Whether an error of a model comes from parameters out of their range, after at least one step.

        Distributions check their parameters and raise ValueError; a factorization fails.
        """
        singular = torch.linalg.LinAlgError  # type: ignore[reportPrivateImportUsage]
        checked = isinstance(error, singular) or "to satisfy the constraint" in str(error)
        return self.steps > 0 and (checked or not all(p.isfinite().all() for p in self.parameters))

    def _improve(self, number: int) -> None:
        """Pass `number`, from 0: one step of the optimizer for each batch."""
        loss = self.loss_of_pass(number)
        for seen, batch in self._batches():
            self.optimizer.param_groups[0]["lr"] = self.rate * self.decay ** (self.steps / self.all_steps)
            for parameter in self.parameters:  # as zero_grad() does, without its call of a profiler
                parameter.grad = None
            for chunk in batch:
                x, weights, labels = chunk.arguments
                (len(x) / seen / self.rows.total_weight * loss(x, weights, labels, self.rows.positive)).backward()
            if self.rows.processes > 1:
                self._average_gradients(seen)
            self.optimizer.step()
            self.steps += 1
        if self.rows.processes > 1 and is_module(self.model):
            # such as the running means of batch normalization
            synchronize(self.model.buffers())  # type: ignore[reportAttributeAccessIssue]

    def _average_gradients(self, seen: int) -> None:
        """Replace the gradients by their mean over processes, weighted by the rows each has read."""
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        for parameter, gradient in zip(self.parameters, own, strict=True):
            parameter.grad = gradient
        average(own, seen)

    def _batches(self) -> Iterator[tuple[int, Iterable[Chunk]]]:
        """For each step of the optimizer the number of rows it reads, and these rows in chunks."""
        if self.batch_size is None:
            yield self.rows.here, self.rows.chunks()
        else:
            for batch in self.rows.batches(self.batch_size, self.generator):
                yield len(batch.x), [batch]
