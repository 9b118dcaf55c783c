"""The M-step of a family: parameters from summed statistics, priors, and singularities of the likelihood."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...module import device_of, has_frozen
from .density import not_written
from .e_step import EStep


class MStep(EStep):
    """Parameters from sums: `maximize` is `match` at the average of T(x), pseudo-rows of a prior included."""

    shared: frozenset[str] = frozenset()  # names of parameters and buffers that all components share
    generalized: bool = False  # whether `maximize` takes an uphill step instead of going to the maximum
    allows_frozen: bool = False  # see the ability `AllowsFrozen`
    has_expected_log_prob: bool = False  # see the ability `HasExpectedLogProb`
    is_conjugate: bool = False  # see the ability `Conjugate`
    repeatable: bool = False  # see the ability `SideBySide`
    copies: int = 1  # families side by side in this one: component c * k + j is component j of copy c (`SideBySide`)

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """Set the parameters so that E[T(x)] = mean. Written by every family.

        In an exponential family this is maximum likelihood when `mean` is the weighted average of T(x).
        """
        raise not_written(self, "match")

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"], length: float = 1.0) -> None:
        """M-step: `match(total / weight)`, with the pseudo-rows of the prior added to both.

        A component without any weight keeps its parameters.

        Args:
            weight: Sums of responsibilities, in rows.
            total: Sums of r T(x).
            length: The fraction of its step that a `generalized` family takes. Other families always get 1.
        """
        weight = weight.unsqueeze(-1)
        if (pseudo := self.pseudo_rows()) is not None:
            weight, total = weight + pseudo[0], total + pseudo[1]
        empty = (weight <= 0).any(-1)
        if not empty.any():
            return self.match(total / weight)
        if empty.all():
            return None
        before = {name: parameter.detach().clone() for name, parameter in self.named_parameters()}
        stand_in = total[~empty].sum(0) / weight[~empty].sum(0)
        self.match(torch.where(empty.unsqueeze(-1), stand_in, total / weight.clamp(min=1e-300)))
        for name, parameter in self.named_parameters():
            if name.removesuffix("_unconstrained") not in self.shared:
                parameter.data[empty] = before[name][empty]
        return None

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """`total` from before the last `maximize`, as it would be summed now. For a family whose `statistics` move with
        its parameters. Raises TypeError if old statistics say nothing about the new parameters."""
        return total

    def require_allows_frozen(self) -> None:
        """Raise TypeError if only some parameters are frozen and the family lacks the ability `AllowsFrozen`."""
        if not has_frozen(self):
            return
        frozen = {name: self.is_frozen(name) for name in self._pyro_params}
        if any(frozen.values()) and not all(frozen.values()) and not self.allows_frozen:
            raise TypeError(
                f"{', '.join(n for n in frozen if frozen[n])} of {type(self).__name__} is frozen and "
                f"{', '.join(n for n in frozen if not frozen[n])} is not, expected a family whose maximize() finds the "
                "best of these given the others (the ability AllowsFrozen): write it, or fit by SVI()"
            )
        for part in self.modules():
            if isinstance(part, MStep) and part is not self:
                part.require_allows_frozen()

    def pseudo_rows(self) -> tuple[Tensor, Tensor] | None:
        """What a conjugate prior adds to the sums of the M-step: weight (s,) and total (s,). None without a prior."""
        return None

    @property
    def least_rows(self) -> int:
        """How many rows a component needs for a finite likelihood, all different. 0 if it is finite for any rows."""
        return 0

    @property
    def has_prior(self) -> bool:
        """Whether a prior keeps every component in range, also one without rows. By default there is none."""
        return False

    def log_prior(self) -> Float[Tensor, "*copies"]:
        """log p(theta), the log prior density of the parameters; 0 without a prior. () for one family, (copies,) for
        several side by side."""
        return torch.zeros(() if self.copies == 1 else self.copies, dtype=torch.float64, device=device_of(self))

    def collapsed(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """(k,) which components have run into a singularity of the likelihood, in a mixture with these weights. By
        default those that have `shrunk` in some column."""
        return self.shrunk(weights).any(-1)

    def shrunk(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, "k d"]:
        """(k, d) the columns in which a component has shrunk onto one value. By default none."""
        return weights.new_zeros(len(weights), self.features, dtype=torch.bool)

    def thinness(self, weights: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """(k,) the smallest eigenvalue of each component's covariance, relative to that of the average component. 1 for
        a family without covariances of its own."""
        return torch.ones_like(weights)

    def dependent_columns(self, component: int) -> list[int]:
        """The columns of a collapsed component that follow from one another, though none has shrunk. By default
        none are known."""
        return []

    def sum_per_copy(self, values: Tensor) -> Tensor:
        """Sums over the components of each copy: () for one family, (copies,) for several side by side."""
        return values.sum() if self.copies == 1 else values.reshape(self.copies, -1).sum(-1)

    def lacking_expected_log_prob(self) -> list[str]:
        """The class names of this family, and of the families it is made of, without the ability
        `HasExpectedLogProb`."""
        parts = (part for part in self.modules() if isinstance(part, MStep))
        return [type(part).__name__ for part in parts if not part.has_expected_log_prob]
