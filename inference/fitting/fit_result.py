"""`Fit`: the fitted model with its history, the result of `fit`."""

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
    """One distinct optimum of the restarts.

    Args:
        bound: Its bound in nats per row; None for the runs that collapsed.
        count: How many runs ended there.
        collapsed: Whether these are the runs that ended in a singularity.

    Example:
        >>> from lowerbound.inference import Optimum
        >>> Optimum(-1.25, 3)
        Optimum(bound=-1.25, count=3, collapsed=False)
    """

    bound: float | None
    count: int
    collapsed: bool = False


@dataclass(frozen=True)
class Fit(Generic[Model]):
    """A fitted model and its history: what `fit` returns.

    Args:
        model: The fitted copy of the model.
        engine: The engine that fitted it.
        bounds: (passes,) float64, nats per row. bounds[t] is the bound at the parameters before the update of pass t;
            bounds[-1] is that of `model`. Where a bound has no closed form, each is the same estimate, by up to 16
            draws of z for each row; the `elbo` of `compare` takes 200, and differs by the noise of both.
        times: (passes,) seconds from the start of the run to each bound.
        converged: Whether the engine found a reason to stop, before max_passes ended the run. False if the bound no
            longer rises by the engine's steps, but does by a step along a gradient that is not small.
        reason: Why the run stopped, in words.
        seconds: The time of all restarts together.
        seed: The seed of the fit.
        optima: The distinct optima of all restarts, best first, collapsed runs last.
        gradient_norm: The norm of the gradient of the bound at `model`, in nats per row and unconstrained parameters
            in units of the data: 0 at an optimum.
        held_out: (all passes,) float64, nats per row of the validation rows, without the log prior, at the same
            parameters as bounds[t]; None without validation rows. With patience a run continues after its best pass, so
            that held_out is longer than bounds and shows the decline.
        doubts: One sentence for each component that rests on few rows, or is thin beside the others: the optimum may
            be a spurious one. See `Mixture.doubts`.

    Example:
        >>> import torch
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import GaussianMixture
        >>> fitted = fit(GaussianMixture(1, 1), torch.tensor([[0.0], [1.0], [2.0], [3.0]]), EM())
        >>> round(float(fitted.bounds[-1]), 4), fitted.converged, len(fitted.bounds) == len(fitted.times)
        (-1.5305, True, True)
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
    doubts: tuple[str, ...] = ()

    def save(self, path: str | Path) -> None:
        """Write the fit to one file that `load` reads back to the same bits.

        Args:
            path: The file; it is written completely or not at all. In a job the first process writes it.

        Raises:
            OSError: The file cannot be written.
            TypeError: The model has no `state_dict()`: it is no `torch.nn.Module`.
        """
        upward("Fit.save")(self, path)

    def __getattr__(self, name: str) -> Any:
        """Raise AttributeError for a name that a fit does not have, and say so if its model has it."""
        # vars: while a fit is copied it has no model yet, and this method would call itself
        model = vars(self).get("model")
        hint = (
            # hasattr: the name may be any that a user types
            f": it belongs to the model, fit.model.{name}" if not name.startswith("_") and hasattr(model, name) else ""
        )
        raise AttributeError(f"a Fit has no {name!r}{hint}")

    def __repr__(self) -> str:
        return (
            f"Fit({type(self.model).__name__} by {self.engine}: bound {float(self.bounds[-1]):.6f} nats per row after "
            f"{len(self.bounds)} passes, {'; '.join([self.reason, *self.doubts])})"
        )
