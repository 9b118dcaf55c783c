"""Family: k members of one parametric family, the one class that users extend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, constraints

from ._module import Recorded
from .rows import Moments
from .units import ScaledCholesky

Summarize = Callable[[Tensor], Tensor]  # responsibilities (n, k) -> (k, s)
Visit = Callable[[Tensor], tuple[Tensor, Summarize]]  # rows (n, d) -> log_prob (n, k), how to sum their statistics


class Family(Recorded):
    """p(x | z = k, theta_k) for k = 0 .. K - 1: its density, its sufficient statistics, its M-step.

    Parameters are `PyroParam`s, float64, with the component on dim 0, except those named in `shared`, which all
    components have in common. A new family writes three methods: `component`, `statistics` and `match`. The others are
    hooks with one meaning each, overridden only where the mathematics or speed asks for it. A family never sees a
    mixture: the weights of the components are not its business.
    """

    shared: frozenset[str] = frozenset()

    # what a family must say

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): a distribution with event shape (d,); `z` indexes components, `...` stands for all k of them."""
        raise _missing(self, "component")

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """T(x): the sufficient statistics of each row."""
        raise _missing(self, "statistics")

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """Set the parameters so that E[T(x)] = mean: maximum likelihood when mean is an average of T(x)."""
        raise _missing(self, "match")

    # what it may say better

    @property
    def components(self) -> int:
        """k, the number of members."""
        return self.component().batch_shape[0]

    @property
    def features(self) -> int:
        """d, the number of columns of x."""
        return self.component().event_shape[0]

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(x | z = k) in nats, differentiable in the parameters."""
        return self.component().log_prob(x.unsqueeze(-2))

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Sums of T(x) over rows, each row shared out by its responsibilities."""
        return responsibilities.T @ self.statistics(x)

    def visit(self) -> Visit:
        """The E-step's view of the rows at the parameters as they stand: what a fused kernel overrides.

        Returns a function of a block of rows, called without gradients, that gives their log_prob (n, k) and a
        function from responsibilities (n, k) to `summarize`d statistics (k, s), so that both can share T(x).
        """

        def block(x: Tensor) -> tuple[Tensor, Summarize]:
            return self.log_prob(x), lambda responsibilities: self.summarize(x, responsibilities)

        return block

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> None:
        """M-step: `match` total / weight. A component without weight keeps its parameters."""
        empty = weight <= 0
        if not empty.any():
            return self.match(total / weight.unsqueeze(-1))
        if empty.all():
            return None
        before = {name: parameter.detach().clone() for name, parameter in self.named_parameters()}
        stand_in = total[~empty].sum(0) / weight[~empty].sum()
        self.match(torch.where(empty.unsqueeze(-1), stand_in, total / weight.clamp(min=1e-300).unsqueeze(-1)))
        for name, parameter in self.named_parameters():
            if name.removesuffix("_unconstrained") not in self.shared:
                parameter.data[empty] = before[name][empty]
        return None

    def anchor(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Take the units of the data, and the place of each component, before a fit; keeps the distribution."""

    def moments(self) -> Moments:
        """Mean (k, d) and covariance (k, d, d) of each member, for tables and pictures."""
        component = self.component()
        return Moments(component.mean.detach(), torch.diag_embed(component.variance.detach()))

    def log_prior(self) -> Float[Tensor, ""]:
        """Log prior density of the parameters, 0 without a prior."""
        return torch.zeros((), dtype=torch.float64)

    def collapsed(self, weights: Float[Tensor, " k"]) -> Tensor:
        """(k,) which members have run into a singularity of the likelihood, in a mixture with these weights."""
        return torch.zeros(len(weights), dtype=torch.bool)

    def permute(self, order: Tensor) -> None:
        """Relabel the members in place: member j becomes the former member order[j]."""
        own = [getattr(self, f"{name}_unconstrained") for name in self._pyro_params if name not in self.shared]
        for tensor in [*own, *(b for name, b in self.named_buffers(recurse=False) if name not in self.shared)]:
            tensor.data = tensor.data[order]

    def free_parameters(self) -> int:
        """How many numbers are free to vary."""
        return sum(
            _degrees_of_freedom(name, parameter, self._pyro_params) for name, parameter in self.named_parameters()
        )


def _missing(family: Family, method: str) -> NotImplementedError:
    return NotImplementedError(f"{type(family).__name__} does not write {method}(): a Family must")


def _degrees_of_freedom(name: str, parameter: Tensor, pyro_params: Mapping[str, Any]) -> int:
    constraint = pyro_params.get(name.removesuffix("_unconstrained"), (None,))[0]
    if isinstance(constraint, type(constraints.simplex)):
        return parameter.numel() - parameter.numel() // parameter.shape[-1]
    if isinstance(constraint, (type(constraints.lower_cholesky), ScaledCholesky)):
        d = parameter.shape[-1]
        return parameter.numel() // (d * d) * (d * (d + 1) // 2)
    return parameter.numel()
