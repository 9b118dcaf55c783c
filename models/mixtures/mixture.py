"""The finite mixture of any family: p(x) = sum_k weights[k] p(x | z = k)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints

from ...data.chunked_methods import by_chunks
from ...data.traced_rows import any_missing
from ..families.family import Family
from ..families.missing_values import log_prob_of_rows
from ..families.observed_values import ObservedValues
from ..module import device_of, on_the_cpu
from ..param_store import local_params
from ..random_state import fixed_seed
from .component_checks import ChecksComponents
from .component_table import component_table
from .e_step import label_log_mask
from .mixture_em import FitsByEM


class Mixture(ChecksComponents, FitsByEM):
    """z ~ Categorical(weights), x | z = k ~ family[k]: a Pyro model/guide pair whose guide is the exact posterior.

    Fit it by `EM()`, `OnlineEM()` or `SVI()`, or with any training loop of Pyro. Its parameters are `weights` (k,), on
    the simplex, and those of `family`, such as `family.loc`. They stay float64 under `.float()` and `.to(dtype)`; rows
    may come in any precision.

    Args:
        family: A `Family` of k components, such as `Gaussian(3, 2)`.
        concentration: None, or the parameter >= 1 of a symmetric Dirichlet prior on the weights (MAP).

    Raises:
        TypeError: `family` is not a `Family`, or `concentration` is not a number.
        ValueError: `concentration` is below 1, where the density of the weights has no maximum inside the simplex.

    Example:
        >>> import torch
        >>> from lowerbound.inference import EM, fit
        >>> from lowerbound.models import Mixture, Poisson
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [20.0], [22.0]])
        >>> model = fit(Mixture(Poisson(components=2, features=1)), x, EM()).model
        >>> print(model.summary(["calls"]).round(2).to_string(index=False))
         weight  rate of calls
            0.6            1.0
            0.4           21.0
        >>> model.predict([[3.0], [18.0]]).tolist() == [model.summary().index[0], model.summary().index[1]]
        True

    References:
        McLachlan and Peel, Finite Mixture Models (2000).
    """

    def __init__(self, family: Family, concentration: float | None = None):
        super().__init__()
        if not isinstance(family, Family):
            raise TypeError(f"got {type(family).__name__}, expected a Family such as Gaussian(components, features)")
        if concentration is not None and not isinstance(concentration, Real):
            raise TypeError(
                f"concentration is {concentration!r}, expected a number or None (families for different columns go "
                "into a Product)"
            )
        if concentration is not None and not concentration >= 1:
            raise ValueError(
                f"concentration is {concentration!r}, expected at least 1: below it the density of the weights has no "
                "maximum inside the simplex, so that a sparse Dirichlet needs a posterior over weights, not MAP"
            )
        if concentration is not None and concentration > 1e300:  # sums over components must be numbers
            raise ValueError(f"concentration is {concentration!r}, expected at most 1e300")
        if not isinstance(family.component(), TorchDistributionMixin):
            raise TypeError(
                f"{type(family).__name__}.component() returns a {type(family.component()).__module__} distribution, "
                "expected one of pyro.distributions: Pyro enumerates and scales only its own"
            )
        self.family = family
        self.concentration = concentration
        k = family.components
        self.weights = PyroParam(torch.full((k,), 1 / k, dtype=torch.float64), constraints.simplex)  # type: ignore[assignment]

    # the Pyro pair

    @local_params
    def model(self, x: Any, weights: Any = None, labels: Any = None, rows: float | None = None) -> Tensor:
        """Pyro model: plate("rows"): z ~ Categorical(weights); x ~ family.component(z).

        Args:
            x: (n, d) rows.
            weights: (n,) row weights, or None for ones.
            labels: (n,) known components, -1 where unknown, or None.
            rows: How many rows x stands for, by default n. The terms of a minibatch are scaled by rows / n; the log
                prior enters once, outside the plate.

        Returns:
            The drawn z, (n,).
        """
        x, weights, labels, scale = self._pair_arguments(x, weights, labels, rows)
        pyro.factor("prior", self.global_term())
        with pyro.plate("rows", len(x), dim=-1), poutine.scale(scale=scale):
            z = pyro.sample("z", dist.Categorical(logits=self.weights.log()), infer={"enumerate": "parallel"})
            if labels is not None:
                unlike = (labels >= 0) & (labels != z)
                pyro.factor("labels", torch.where(unlike, -torch.inf, 0.0).to(x.dtype))
            component: Any = ObservedValues(self.family, z) if any_missing(x) else self.family.component(z)
            pyro.sample("x", component, obs=x)
        return z

    @local_params
    def guide(self, x: Any, weights: Any = None, labels: Any = None, rows: float | None = None) -> Tensor:
        """Pyro guide, the E-step: z ~ p(z | x), detached.

        log p(x, z) - log q(z | x) is then log p(x) for any z drawn, and its mean gradient, in the parameters and in x,
        is that of log p(x). For `TraceEnum_ELBO` pass `config_enumerate(guide)`. Arguments as in `model`.
        """
        x, weights, labels, scale = self._pair_arguments(x, weights, labels, rows)
        with torch.no_grad():
            logits = self._logits(x, labels)
        with pyro.plate("rows", len(x), dim=-1), poutine.scale(scale=scale):
            return pyro.sample("z", dist.Categorical(logits=logits))

    # what the pair implies, in closed form

    def posterior(self, x: Any, labels: Any = None) -> dist.Categorical:
        """The responsibilities p(z = k | x), as a Categorical with batch shape (n,).

        Args:
            x: (n, d) rows, as `fit` takes them.
            labels: (n,) known components, -1 where unknown, or None.

        Returns:
            A Categorical whose `.probs` is (n, k).
        """
        return dist.Categorical(logits=self._posterior_logits(x, labels))

    @by_chunks
    @torch.no_grad()
    def _posterior_logits(self, x: Any, labels: Any = None) -> Float[Tensor, "n k"]:
        x = self._checked_table(x)
        return self._logits(x, self._checked_labels(labels, len(x)))

    def predict(self, x: Any, labels: Any = None) -> Int[Tensor, " n"] | pd.Series:
        """The most likely component of each row, (n,): 0 .. k - 1; the label where it is known.

        Args:
            x: (n, d) rows, as `fit` takes them.
            labels: (n,) known components, -1 where unknown, or None.

        Returns:
            Whole numbers: a tensor; of a DataFrame a Series with its index, as in `x.groupby(model.predict(x))`.
        """
        components = self.posterior(x, labels).logits.argmax(-1)
        if isinstance(x, pd.DataFrame):
            return pd.Series(components.cpu().numpy(), x.index, name="component")
        return components

    @by_chunks
    def bound(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """log p(x) of each row in nats, (n,), with its label where it is known: the bound is tight. No gradient.
        Arguments as in `posterior`."""
        with torch.no_grad():
            return self.objective(x, labels)

    def objective(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """The same numbers as `bound`, differentiable in the parameters and in x."""
        x = self._checked_table(x)
        return torch.logsumexp(self._log_joint(x, self._checked_labels(labels, len(x))), -1)

    @by_chunks
    def evidence(self, x: Any) -> Float[Tensor, " n"]:
        """log p(x) = log sum_k weights[k] p(x | z = k) of each row of x (n, d), in nats. No gradient."""
        with torch.no_grad():
            return torch.logsumexp(self._log_joint(self._checked_table(x), None), -1)

    def global_term(self) -> Float[Tensor, ""]:
        """log p(theta), the log prior density of the parameters in nats; 0 without a prior (maximum likelihood)."""
        prior = self.family.log_prior()
        # without a prior on the weights, skip their map to the simplex: calls are most of the time of a small fit
        return prior if self.concentration is None else prior + self._log_prior_of_weights(self.weights)

    @on_the_cpu
    def sample(self, n: int, seed: int | None = None, labels: bool = False) -> Any:
        """Rows drawn from the mixture.

        Args:
            n: How many rows.
            seed: The same seed gives the same rows. None draws from torch's own random state.
            labels: Whether to return the components, too.

        Returns:
            x (n, d) in float64; with labels=True the pair x, z, where z (n,) are the components.

        Raises:
            ValueError: n is not a whole number of at least 1, or the parameters are not set.
        """
        if not isinstance(n, Integral) or n < 1:
            raise ValueError(f"n is {n!r}, expected a whole number of rows of at least 1")
        self._require_parameters()
        with torch.no_grad(), fixed_seed(seed):
            z = dist.Categorical(self.weights).sample((int(n),))
            x = self.family.component(z).sample().to(torch.float64)
        return (x, z) if labels else x

    def free_parameters(self) -> int:
        """The number of free parameters: those of the family and k - 1 weights. Frozen parameters do not count."""
        return self.family.free_parameters() + (0 if self.is_frozen("weights") else len(self.weights) - 1)

    # relabelling, describing

    @torch.no_grad()
    def permute(self, order: Any) -> None:
        """Relabel the components in place: component j becomes the former component order[j]."""
        order = self._checked_order(order)
        self.weights_unconstrained.data = self.weights_unconstrained.data[order]
        self.family.permute(order)

    def canonical_order(self) -> Int[Tensor, " k"]:
        """(k,) the order in which tables show the components: by decreasing weight, then by the first profile."""
        by_first = self.family.profiles()[0].values[:, 0].argsort(stable=True)
        return by_first[self.weights.detach()[by_first].argsort(descending=True, stable=True)]

    @on_the_cpu
    def summary(
        self, columns: Iterable[str] | None = None, levels: Sequence[Sequence[str] | None] | None = None
    ) -> pd.DataFrame:
        """One row per component: its weight and its parameters, in the units of the data.

        Args:
            columns: Names of the columns; by default those of the table it was fitted to.
            levels: For each column the names of its categories, or None for their codes; by default those of the table.

        Returns:
            A DataFrame in `canonical_order`. Its index is the number of the component, as in `weights` and
            `posterior(x).probs`.

        Raises:
            ValueError: The parameters are not set.
        """
        self._require_parameters()
        if self.schema is not None:
            columns = self.schema.columns if columns is None else columns
            levels = self.schema.levels if levels is None else levels
        names = [f"column {j}" for j in range(self.family.features)] if columns is None else list(columns)
        return component_table(self.family, self.weights.detach(), self.canonical_order(), names, levels)

    # inside

    def _logits(self, x: Tensor, labels: Tensor | None) -> Float[Tensor, "n k"]:
        """log q(z = k | x) up to a constant per row. A row of probability 0 under every
        component gets the log weights."""
        joint = self._log_joint(x, labels)
        return torch.where(joint.amax(-1, keepdim=True) > -torch.inf, joint, self.weights.detach().log())

    def _log_joint(self, x: Tensor, labels: Tensor | None) -> Float[Tensor, "n k"]:
        self._require_parameters()
        log_weights = self.weights_unconstrained.log_softmax(-1)  # smooth where a weight is 0
        joint = log_prob_of_rows(self.family, x) + log_weights
        return joint if labels is None else joint + label_log_mask(labels, joint.shape[-1])

    def _checked_order(self, order: Any) -> Int[Tensor, " k"]:
        order = torch.as_tensor(order, device=device_of(self))
        if sorted(order.tolist()) != list(range(len(self.weights))):
            raise ValueError(f"got order {order.tolist()}, expected a permutation of 0 .. {len(self.weights) - 1}")
        return order
