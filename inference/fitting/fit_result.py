"""What comes of a fit: the fitted model, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from jaxtyping import Float
from torch import Tensor

from ...models import LatentModel
from ..engines.contract import Engine
from ..upward import upward

Model = TypeVar("Model", bound=LatentModel)


@dataclass(frozen=True)
class Optimum:
    """One distinct end of the restarts: its bound in nats per row (None if collapsed) and how many runs ended there."""

    bound: float | None
    count: int
    collapsed: bool = False


@dataclass(frozen=True)
class Fit(Generic[Model]):
    """A fitted model and how it came about.

    model: the fitted copy. bounds: (passes,) float64, nats per row: bounds[t] is the bound at the parameters before the
    update of pass t, so bounds[-1] is that of `model`. times: (passes,) seconds from the start of the run to each of
    them. seconds: of all restarts together. converged, reason: whether and why it stopped. optima: the distinct optima
    of all restarts, best first, collapsed runs last. gradient_norm: of the bound in nats per row, in unconstrained
    parameters in units of the data. seed: what it was fitted with. held_out: (all passes,) float64, nats per row of the
    validation rows, without the prior, at the same parameters as bounds[t]; None where there were none. A run with
    patience goes on beyond its best pass, so that held_out is longer than bounds: its decline is there to be seen.
    """

    model: Model
    engine: Engine
    bounds: Float[Tensor, " passes"]
    times: Float[Tensor, " passes"]
    converged: bool
    reason: str
    seconds: float
    seed: int
    optima: tuple[Optimum, ...]
    gradient_norm: float
    held_out: Float[Tensor, " all_passes"] | None = None

    def save(self, path: str | Path) -> None:
        """Write the fit to one file that `load` reads back to the same bits. Raises OSError if it cannot be written."""
        upward("Fit.save")(self, path)

    def __getattr__(self, name: str) -> Any:
        """Called for what a fit does not have. Raises AttributeError, and says so if its model has it."""
        model = vars(self).get("model")
        hint = f": take it of the model, fit.model.{name}" if not name.startswith("_") and hasattr(model, name) else ""
        raise AttributeError(f"a Fit has no {name!r}{hint}")

    def __repr__(self) -> str:
        return (
            f"Fit({type(self.model).__name__} by {self.engine}: bound {float(self.bounds[-1]):.6f} nats per row after "
            f"{len(self.bounds)} passes, {self.reason})"
        )
