"""What a model may offer beyond its contract, each ability one short protocol.

Engines, `compare`, plots and commands ask for an ability by `isinstance(model, Ability)`, never by `hasattr`: a user's
model has an ability if it has the methods listed here. `LatentModel` and `SupportsEM` are in `contract`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution

# Abilities that the table readers use are defined below, in `data`, and listed here with the others.
from ..data.model_abilities import HasNumericColumns as HasNumericColumns
from ..data.model_abilities import RemembersTable as RemembersTable
from ..data.model_abilities import TakesMissingValues as TakesMissingValues
from ..data.model_abilities import takes_missing as takes_missing
from .contract import LatentModel, Statistics


@runtime_checkable
class Imputes(TakesMissingValues, Protocol):
    """A model that fills in missing values, or draws them, given the observed values of a row."""

    def impute(self, x: Any) -> Any:
        """The table with each missing value at its posterior mean, and its standard deviation."""
        ...

    def draw_missing(self, x: Any, draws: int = 1, seed: int | None = None) -> Float[Tensor, "m n d"]:
        """The table several times, with its missing values drawn from their posterior."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """A model that compiles or loads something before its first E-step, so that this time is not counted as fitting."""

    def prepare(self) -> None:
        """Compile or load what the first E-step needs."""
        ...


@runtime_checkable
class HasExpectedLogJoint(Protocol):
    """A model whose statistics give the gradient of its bound (Fisher's identity), without another look at the rows."""

    @property
    def has_expected_log_joint(self) -> bool:
        """Whether this model has it: a mixture does if its family writes `expected_log_prob`."""
        ...

    def expected_log_joint(self, statistics: Statistics) -> Float[Tensor, ""]:
        """E[log p(x, z)] summed over the rows of these statistics, in nats, differentiable in the parameters."""
        ...


@runtime_checkable
class PassesAhead(Protocol):
    """Passes of EM over one table that a model makes ahead, several in one compiled call."""

    def begin(self) -> None:
        """Go on from the parameters that the model has now."""
        ...

    def advance(self) -> Tensor | None:
        """Set the model to the parameters of the next pass, the first time to those it has. Returns its bound in nats
        per row; None, and the model as it was, for a pass that `expect` and `maximize` must make."""
        ...

    def restart(self, rows: Any, generator: torch.Generator) -> None:
        """Begin at another start, drawn as `initialize` draws it from these `Rows`, without its checks."""
        ...


@runtime_checkable
class MakesPassesAhead(Protocol):
    """A model that can make many passes of EM over a table in memory in one compiled call."""

    def passes_ahead(self, rows: Any) -> PassesAhead | None:
        """The passes over these `Rows`; None if this model or table does not allow it."""
        ...


@runtime_checkable
class HasComponents(Protocol):
    """A model with labelled components that can be relabelled: mixtures, hidden Markov models."""

    def permute(self, order: Any) -> None:
        """Relabel in place: component j becomes the former component order[j]."""
        ...

    def canonical_order(self) -> Int[Tensor, " k"]:
        """The order that tables and pictures show: the largest component first."""
        ...


@runtime_checkable
class HasFamily(Protocol):
    """A model whose components are members of one family, with weights: tables and pictures of the components."""

    weights: Any
    family: Any


@runtime_checkable
class Summarizes(Protocol):
    """A model with a table of its components."""

    def summary(
        self, columns: Sequence[str] | None = None, levels: Sequence[Sequence[str] | None] | None = None
    ) -> pd.DataFrame:
        """One row per component: its weight and its parameters."""
        ...


@runtime_checkable
class DoubtsComponents(Protocol):
    """A model that knows how many rows its components hold, and whether its optimum may be spurious."""

    def component_rows(self, rows: float) -> Tensor:
        """(k,) how many of these rows each component holds."""
        ...

    def doubts(self, rows: float) -> list[str]:
        """One sentence for each component that rests on few rows, or is thin beside the others."""
        ...


@runtime_checkable
class HasContinuousLatent(LatentModel, Protocol):
    """A model whose latent variable is a vector: PPCA, factor analysis, the VAE."""

    latent: int

    def draws(self, x: Any, samples: int = 1, *, trusted: bool = False) -> Any:
        """Draws of z from q(z | x) by reparameterization, with the terms of the bound: `Draws`.

        trusted: x is a tensor that was checked before, as in a fit.
        """
        ...

    def decode(self, z: Any) -> Distribution:
        """p(x | z)."""
        ...

    def transform(self, x: Any) -> Tensor:
        """The posterior mean of z of each row."""
        ...

    def reconstruct(self, x: Any) -> Tensor:
        """The mean of p(x | z) at the posterior mean of z."""
        ...


@runtime_checkable
class HasPictureShape(Protocol):
    """An encoder whose rows are pictures, such as `ConvEncoder`."""

    shape: tuple[int, ...]  # (channels, height, width)


@runtime_checkable
class HasExactBound(Protocol):
    """A model that says whether its `bound` is in closed form. Models that do not say are taken to have one."""

    @property
    def has_exact_bound(self) -> bool:
        """Whether the bound is computed without draws of z."""
        ...


@runtime_checkable
class HasLearningRate(Protocol):
    """A model that knows a good step for `SVI`."""

    @property
    def learning_rate(self) -> float:
        """The default step of `SVI(learning_rate=None)`."""
        ...


@runtime_checkable
class HasConstants(Protocol):
    """A model with parameters that are frozen by definition, such as the equal weights of k-means."""

    constants: tuple[str, ...]


@runtime_checkable
class HasState(Protocol):
    """A model whose state can be stored and put back, as that of every `torch.nn.Module`: for checkpoints and files."""

    def state_dict(self) -> Any:
        """All that the model depends on, as tensors by name."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """Put a state back."""
        ...


def is_module(model: Any) -> bool:
    """Whether a model is a `torch.nn.Module`: it then has a state that can be copied, saved and moved."""
    return isinstance(model, torch.nn.Module)
