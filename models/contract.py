"""The contract of a model: what the author of a new one writes, and what comes for free.

A latent variable model is an object with the methods of `LatentModel`. Nothing has to be inherited: the contract is a
protocol, and `check_model(model, x)` tries it on rows.

| write | it gives back | it is used by |
| --- | --- | --- |
| `model`, `guide` | a Pyro program for p(x, z), and one for q(z given x) | `SVI`, and any training loop of Pyro |
| `posterior(x)` | q(z given x) as a distribution, batch shape (n,) | `elbo_gap`, `align`, pictures |
| `bound(x)`, `objective(x)` | nats per row, (n,), without and with a gradient | every engine, `compare`, `select` |
| `evidence(x)` | log p(x) of each row, or None without a closed form | `compare`, `evidence` |
| `global_term()` | log p(theta) in nats, or 0 | every engine |
| `sample(n, seed)` | n rows | `compare`, ArviZ, pictures |
| `initialize(rows, ...)` | nothing: it sets the first parameters | `fit` |
| `parameters()` | the tensors that gradients move (from `torch.nn.Module`) | `SVI`, `gradient_norm` |
| `free_parameters()` | their number | BIC, AIC |
| `check()` | nothing: it raises `Collapse` at a singularity | `fit` |
| for `EM`: `expect`, `maximize`, `remeasure`, `generalized` | see `SupportsEM` | `EM`, `OnlineEM`, SQUAREM |

What comes for free: `fit` with restarts, validation and checkpoints, every engine, `compare`, `select`, `elbo_gap`,
standard errors, the bootstrap, saving, the report and the command's tables. Two shorter ways: a `Family` in a `Mixture`
(three methods), and `ContinuousLatent` for a vector z with a standard normal prior. What a model may offer beyond the
contract, such as missing values, is in `abilities`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution


class TooFewDistinctRows(ValueError):
    """Fewer distinct rows, to rounding, than components."""


class Collapse(ArithmeticError):
    """Parameters have run into a singularity, where the likelihood has no upper bound.

    As a rule a component has shrunk onto a few rows.

    Args:
        message: What happened.
        component: The component that collapsed, from 0; None if it is not one of them.
        cure: What to do about it.

    Example:
        >>> from lowerbound.models import Collapse
        >>> print(Collapse("component 1 has collapsed", 1, "use fewer components"))
        component 1 has collapsed: use fewer components
    """

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
    """What the M-step needs to know of some rows. Statistics add over chunks of rows, passes and processes.

    Statistics of one model add only if they were taken at the same parameters.

    Args:
        weight: (k,) sums over rows of row weight times responsibility.
        total: (k, s) the same sums of the sufficient statistics T(x).
        bound: () sum of row weight times the bound of each row, in nats; (copies,) for models side by side.
        total_weight: () sum of the row weights.

    Example:
        >>> import torch
        >>> from lowerbound.models import GaussianMixture, seed
        >>> x = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
        >>> model = seed(GaussianMixture(components=2, features=1), x)
        >>> halves = model.expect(x[:2]) + model.expect(x[2:])
        >>> bool(torch.allclose(halves.total, model.expect(x).total))
        True
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


def lacking(model: Any, contract: type) -> list[str]:
    """The names of the members of a contract, such as `LatentModel`, that a model lacks."""
    own = dir(model)
    return [name for name in dir(contract) if not name.startswith("_") and name not in own]


@runtime_checkable
class LatentModel(Protocol):
    """A Pyro model/guide pair whose guide is the E-step: all that SVI, `compare` and the report need.

    Engines, `compare` and the report call every method but `initialize` with some rows at a time: x is a tensor (n, d)
    in float64, `weights` a tensor (n,) or None, `labels` the known components, a tensor (n,), -1 where unknown, or
    None. A model without components ignores labels. Users call the same methods with arrays and DataFrames, too, if the
    model converts them. `initialize` gets the whole table, as `lowerbound.data.Rows`.

    Example:
        >>> from lowerbound.models import GaussianMixture, LatentModel
        >>> isinstance(GaussianMixture(2, 2), LatentModel)
        True
    """

    def model(self, x: Any, weights=None, labels=None, rows: float | None = None) -> Any:
        """Pyro model: plate("rows"): z ~ p(z); x ~ p(x | z).

        Args:
            x: (n, d) rows.
            weights: (n,) row weights, or None for ones.
            labels: (n,) known components, or None.
            rows: How many rows x stands for, by default n. Local sites are scaled by weights * rows / n; the prior
                enters once, outside the plate. The bound of a minibatch is then unbiased for that of all rows.
        """
        ...

    def guide(self, x: Any, weights=None, labels=None, rows: float | None = None) -> Any:
        """Pyro guide: z ~ q(z | x), scaled as in `model`."""
        ...

    def posterior(self, x: Any) -> Distribution:
        """q(z | x), a distribution with batch shape (n,)."""
        ...

    def bound(self, x: Any, labels=None) -> Float[Tensor, " n"]:
        """The lower bound of log p(x) of each row in nats; equal to it where the posterior is exact. No gradient."""
        ...

    def objective(self, x: Any, labels=None) -> Float[Tensor, " n"]:
        """The same numbers as `bound`, differentiable in the parameters, and in x where the density is."""
        ...

    def evidence(self, x: Any) -> Float[Tensor, " n"] | None:
        """log p(x) of each row in nats if it has a closed form, else None. No gradient."""
        ...

    def global_term(self) -> Float[Tensor, ""]:
        """The part of the bound that belongs to no row: 0 (maximum likelihood) or log p(theta) (MAP), in nats."""
        ...

    def sample(self, n: int, seed: int | None = None) -> Float[Tensor, "n d"]:
        """n rows drawn from the model, the same ones for the same seed."""
        ...

    def initialize(self, x: Any, weights: Any, generator: torch.Generator, redraw: bool = True) -> None:
        """Learn the units of the data and draw starting parameters from `generator`.

        `fit` passes `redraw=False` for its first restart, also to a fresh model, and True for all others. Only the
        model knows which parameters are placeholders of its constructor: make these NaN, and draw them
        `if redraw or self.rate.isnan().any()`. `PyroParam`s of a `ContinuousLatent` need no such line.

        Args:
            x: The table, as `Rows`: `x.spread` has mean and variance of each column, `x.chunks()` the rows with their
                weights and labels, a tensor of some rows at a time.
            weights: None, because `Rows` have their own.
            generator: The source of all random numbers.
            redraw: False keeps parameters that are already set, by the user or by an earlier fit. Frozen parameters
                are always kept.
        """
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
class SupportsEM(LatentModel, Protocol):
    """A latent model whose bound EM can raise: an E-step that sums statistics, and an M-step that reads the sum.

    Example:
        >>> from lowerbound.models import PPCA, SupportsEM
        >>> isinstance(PPCA(features=4, latent=2), SupportsEM)
        True
    """

    def expect(self, x: Any, weights=None, labels=None) -> Statistics:
        """E-step of some rows: their bound and expected statistics at the present parameters."""
        ...

    def maximize(self, statistics: Statistics, length: float = 1.0) -> None:
        """M-step: the parameters that maximize the expected complete log-likelihood plus the log prior.

        Args:
            statistics: The sum of what `expect` returns over all rows.
            length: The fraction of its step that a `generalized` model takes; 1 for all others.
        """
        ...

    def remeasure(self, statistics: Statistics) -> Statistics:
        """Statistics from before the last `maximize`, as they would be summed now, so that they can be averaged with
        new ones. Raises TypeError if they say nothing about other parameters. As a rule the statistics themselves."""
        ...

    @property
    def generalized(self) -> bool:
        """Whether `maximize` takes an uphill step, which may be too long, instead of going to the maximum. The engine
        then halves `length` until the bound does not fall."""
        ...


@runtime_checkable
class SupportsBatch(Protocol):
    """A model whose restarts may take the steps of EM together, in one tensor."""

    def batch(self, rows: Any, generators: Sequence[torch.Generator]) -> Any:
        """This model, started on these rows, and one new start from each generator: a `Batch`, or None if this model or
        table does not allow it."""
        ...


@runtime_checkable
class SupportsPosterior(LatentModel, Protocol):
    """A latent model with a distribution q over its parameters theta. Its `evidence` is the predictive density, and its
    bound is one of log p(all rows).

    Example:
        >>> from lowerbound.models import BayesianMixture, Gaussian, SupportsPosterior
        >>> isinstance(BayesianMixture(Gaussian(2, 2)), SupportsPosterior)
        True
    """

    def draw(self, draws: int, seed: int | None = None) -> dict[str, Tensor]:
        """Draws of the parameters by name, with the draw on dim 0."""
        ...

    def centre(self) -> LatentModel:
        """The model without a posterior whose parameters are the mean of q."""
        ...

    def log_likelihood(self, theta: dict[str, Tensor], x: Any) -> Float[Tensor, "s n"]:
        """log p(x | theta) of each draw and row in nats, the latent variables of rows summed out."""
        ...

    def log_prior(self, theta: dict[str, Tensor]) -> Float[Tensor, " s"]:
        """log p(theta) of each draw in nats."""
        ...

    def log_labellings(self, labels: Any = None) -> float:
        """The logarithm of the number of relabellings of q that are as good and do not overlap.

        The bound of the mixture over all labellings is higher by this number. labels: known components of the rows,
        (n,), -1 where unknown. 0 where labels have a meaning.
        """
        ...

    @property
    def is_sampled(self) -> bool:
        """Whether q consists of the draws of a sampler."""
        ...

    @property
    def is_point(self) -> bool:
        """Whether q is a single point."""
        ...
