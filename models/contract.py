"""The two contracts of the house: what every model offers, and what EM needs besides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution


class Collapse(ArithmeticError):
    """Parameters have run into a singularity, where the likelihood has no upper bound: as a rule a component has shrunk
    onto a few rows, and `component` says which. `cure`: what to do about it."""

    def __init__(
        self,
        message: str,
        component: int | None = None,
        cure: str = 'give the model prior="weak", or more restarts, or fewer components; or drop columns that follow '
        "from others",
    ):
        super().__init__(message)
        self.component, self.cure = component, cure

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.cure}"


@dataclass(frozen=True)
class Statistics:
    """What the M-step needs to know of some rows. A monoid: it adds over chunks, passes and machines.

    weight: (k,) sums over rows of row weight times responsibility; total: (k, s) the same sums of T(x); bound: () sum
    of row weight times the bound of each row, in nats (of several models side by side, of each); total_weight: () sum
    of the row weights. Statistics of one model add only if they were taken at the same parameters.
    """

    weight: Float[Tensor, " k"]
    total: Float[Tensor, "k s"]
    bound: Float[Tensor, "*copies"]
    total_weight: Float[Tensor, ""]

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.weight + other.weight,
            self.total + other.total,
            self.bound + other.bound,
            self.total_weight + other.total_weight,
        )


@runtime_checkable
class LatentModel(Protocol):
    """A model/guide pair whose guide is the E-step. All that SVI, `compare` and the report need.

    `x` is whatever `lowerbound.inference.fit` takes: tensor, numpy array, DataFrame, memory-mapped array; (n, d).
    """

    def model(self, x: Any, weights=None, labels=None, rows: float | None = None) -> Any:
        """Pyro model: plate("rows"): z ~ p(z); x ~ p(x | z). Local sites are scaled by weights * rows / len(x); the
        prior enters once, outside the plate, so a minibatch of `rows` rows gives an unbiased bound of them all."""
        ...

    def guide(self, x: Any, weights=None, labels=None, rows: float | None = None) -> Any:
        """Pyro guide: z ~ q(z | x), scaled as in `model`."""
        ...

    def posterior(self, x: Any) -> Distribution:
        """q(z | x), with batch shape (n,)."""
        ...

    def bound(self, x: Any, labels=None) -> Float[Tensor, " n"]:
        """The lower bound of log p(x) of each row in nats; equal to it where the posterior is exact. No gradient."""
        ...

    def objective(self, x: Any, labels=None) -> Float[Tensor, " n"]:
        """The same numbers as `bound`, differentiable in the parameters."""
        ...

    def evidence(self, x: Any) -> Float[Tensor, " n"] | None:
        """log p(x) of each row in nats, where it has a closed form; else None. No gradient."""
        ...

    def global_term(self) -> Float[Tensor, ""]:
        """What the bound owes to the parameters: 0 (maximum likelihood), log p(theta) (MAP)."""
        ...

    def sample(self, n: int, seed: int | None = None) -> Float[Tensor, "n d"]:
        """n rows drawn from the model, the same ones for the same seed."""
        ...

    def initialize(self, x: Any, weights: Any, generator: torch.Generator, redraw: bool = True) -> None:
        """Learn the units of the data and draw starting parameters; `redraw=False` keeps those already set."""
        ...

    def parameters(self, recurse: bool = True) -> Iterator[torch.nn.Parameter]:
        """The unconstrained tensors that gradients move, as every `torch.nn.Module` has them."""
        ...

    def free_parameters(self) -> int:
        """The number of free parameters, as BIC counts them."""
        ...

    def check(self) -> None:
        """Raise `Collapse` if the parameters have run into a singularity of the likelihood."""
        ...


@runtime_checkable
class SupportsBatch(Protocol):
    """A model whose restarts may take the steps of EM together."""

    def batch(self, rows: Any, generators: Sequence[torch.Generator]) -> Any:
        """This model, started on these rows, and a new start of its kind from each generator: a `Batch`, or None."""
        ...


@runtime_checkable
class SupportsPosterior(LatentModel, Protocol):
    """A latent model with a distribution q over its parameters theta, of which its `evidence` is the predictive density
    and its bound one of log p(all rows)."""

    def draw(self, draws: int, seed: int | None = None) -> dict[str, Tensor]:
        """Draws of the parameters by name, with the draw on dim 0."""
        ...

    def centre(self) -> LatentModel:
        """The model without a posterior that has the mean of q for parameters."""
        ...

    def log_likelihood(self, theta: dict[str, Tensor], x: Any) -> Float[Tensor, "s n"]:
        """log p(x | theta) of each draw and row in nats, the latent variables of rows summed out."""
        ...

    def log_prior(self, theta: dict[str, Tensor]) -> Float[Tensor, " s"]:
        """log p(theta) of each draw in nats."""
        ...

    def log_labellings(self, labels: Any = None) -> float:
        """The logarithm of how many relabellings of q there are that are as good and do not overlap: what a bound of
        log p(all rows) gains by the mixture of them all. labels: of the rows, (n,) with -1 where unknown. 0 where
        labels mean something."""
        ...

    @property
    def is_sampled(self) -> bool:
        """Whether q consists of the draws of a sampler."""
        ...

    @property
    def is_point(self) -> bool:
        """Whether q is a single point."""
        ...


@runtime_checkable
class SupportsEM(LatentModel, Protocol):
    """A latent model whose bound EM can raise: an E-step that sums statistics and an M-step that reads their sum."""

    def expect(self, x: Any, weights=None, labels=None) -> Statistics:
        """E-step of some rows: their bound and expected statistics at the parameters as they stand."""
        ...

    def maximize(self, statistics: Statistics, length: float = 1.0) -> None:
        """M-step: the parameters that maximize the expected complete log-likelihood (plus log prior).

        length: the fraction of its step that a `generalized` model is to take; others are never asked for less than 1.
        """
        ...

    def remeasure(self, statistics: Statistics) -> Statistics:
        """Statistics of before the last `maximize`, as they would be measured now, so that they can be averaged with or
        compared to new ones. Raises TypeError where they say nothing at other parameters."""
        ...

    @property
    def generalized(self) -> bool:
        """Whether `maximize` takes a step uphill, which may be too long, instead of going to the maximum."""
        ...
