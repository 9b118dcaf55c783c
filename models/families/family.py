"""Family: k members of one parametric family, the one class that users extend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.distributions import Distribution, constraints

from ...data.moments import Moments
from ..kernels.visit import Summarize, Visit
from ..module import Recorded, device_of
from .missing_values import observed_log_prob


@dataclass(frozen=True)
class Profile:
    """What tables and pictures say of the members: m numbers of one kind for each, `values` (k, m).

    kind: what they are, such as "rate"; columns: (m,) the data column each belongs to, -1 where it is of whole rows;
    levels: (m,) the code of which each is the probability (kind "P"), None for other kinds.
    """

    kind: str
    values: Float[Tensor, "k m"]
    columns: Sequence[int]
    levels: Sequence[int] | None = None


class Family(Recorded):
    """p(x | z = k, theta_k) for k = 0 .. K - 1: its density, its sufficient statistics, its M-step.

    Parameters are `PyroParam`s, float64, with the component on dim 0, except those named in `shared`, which all
    components have in common. A new family writes three methods: `component`, `statistics` and `match`. The others are
    hooks with one meaning each, overridden only where the mathematics or speed asks for it. A family never sees a
    mixture: the weights of the components are not its business.

    repeatable = True lets restarts on a small table run in one tensor, by a family of `copies` times as many members,
    whose `shared` parameters have the copy on a new dim 0. It is for families that take the number of members from
    their parameters, and whose hooks bring together, if any, only the members of one copy (as `per_copy` does).
    """

    shared: frozenset[str] = frozenset()
    generalized: bool = False  # whether `maximize` takes a step towards the maximum instead of going there
    takes_missing: bool = False  # whether rows may have NaN, for cells that were not seen
    repeatable: bool = False  # whether the hooks keep to `copies`, so that restarts can run in one tensor
    copies: int = 1  # of one family, side by side: member c * k + j is member j of copy c, of a mixture of its own
    conditional: bool = False  # whether, where some parameters are frozen, `maximize` finds the best of the others
    location_parameter: str | None = None  # the parameter (k, d) that says where the members are, if there is one
    expects: str = "values that the distribution can give"  # what rows may hold, for the message if they do not

    # what a family must say

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): a distribution with event shape (d,) and the batch shape of `z`, which indexes components and may
        have any shape; `...` stands for all k of them."""
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
        return self._shape[0]

    @property
    def features(self) -> int:
        """d, the number of columns of x."""
        return self._shape[1]

    @property
    def _shape(self) -> tuple[int, int]:
        """k and d. Raises ValueError if `component` is no distribution of k rows."""
        component: Any = self.component()
        batch, event = tuple(component.batch_shape), tuple(component.event_shape)
        if len(batch) != 1 or len(event) != 1:
            cure = ": columns become one by .to_event(1)" if len(event) == 0 else ""
            raise ValueError(
                f"{type(self).__name__}: component() has batch shape {batch} and event shape {event}, expected "
                f"(components,) and (columns,){cure}"
            )
        return batch[0], event[0]

    @property
    def block_rows(self) -> int:
        """How many rows `visit` takes at a time: few enough for what it makes of them to stay in cache."""
        return 8192

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Which cells no member can give, such as negative counts; None if there is none. Of NaN it may say either."""
        support: Any = self.component().support
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        if support is constraints.real or support is constraints.real_vector:
            return None
        inside = support.check(x.unsqueeze(-2)).expand(len(x), -1, *x.shape[1 : 2 - support.event_dim]).any(1)
        return ~inside.reshape(len(x), -1).expand_as(x)

    def unsupported(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Which cells are `outside`, or missing where the family takes none; None if there is none."""
        outside, gone = self.outside(x), x.isnan()
        if not gone.any():
            return outside
        outside = torch.zeros_like(gone) if outside is None else outside
        return outside & ~gone if self.takes_missing else outside | gone

    def nan_if_unsupported(self, x: Float[Tensor, "n d"]) -> float:
        """NaN if some cell is `unsupported`, else 0: added to what a pass over many rows makes of them."""
        refused = self.unsupported(x)
        return 0.0 if refused is None or not refused.any() else torch.nan

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(x | z = k) in nats, differentiable in the parameters."""
        return self.component().log_prob(x.unsqueeze(-2))

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Sums of T(x) over rows, each row shared out by its responsibilities."""
        return responsibilities.T @ self.statistics(x)

    def visit(self) -> Visit:
        """The E-step's view of the rows at the parameters as they stand: what a fused kernel overrides.
        Without one: `log_prob` and `summarize` of a block, of as many rows as `block_rows`."""

        def block(x: Tensor) -> tuple[Tensor, Summarize]:
            return self.log_prob(x) + self.nan_if_unsupported(x), lambda responsibilities: self.summarize(
                x, responsibilities
            )

        return Visit(block)

    def visit_in(self, dtype: torch.dtype) -> Visit:
        """`visit` in this precision, with sums in float64, where a family has a kernel for that; else as ever."""
        return self.visit()

    # rows with missing cells, NaN, for a family that `takes_missing` ones: as written here if columns are independent

    def expected_statistics(self) -> Float[Tensor, "k s"]:
        """E[T(x) | z = k] at the parameters as they stand: `match` undone."""
        raise _missing(self, "expected_statistics", "for rows with missing cells")

    def marginal(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(seen cells of x | z = k) in nats, differentiable in the parameters."""
        return observed_log_prob(self.component(), x)

    def complete(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Sums of E[T(x) | seen cells, z = k] over rows, at the parameters as they stand. Here T(x) is NaN where it
        reads a missing cell, and is then taken to its `expected_statistics`."""
        t = self.statistics(x)
        gone = t.isnan()
        seen = responsibilities.T @ torch.where(gone, 0.0, t)
        return seen + (responsibilities.T @ gone.to(t.dtype)) * self.expected_statistics().detach()

    def visit_missing(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Summarize]:
        """`marginal`, and from responsibilities (n, k) what `complete` gives (k, s): so that both can share work."""
        return self.marginal(x), lambda responsibilities: self.complete(x, responsibilities)

    def moments_given(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k d"]]:
        """Mean and variance of each cell given the seen cells of its row and z = k: seen ones are what they are."""
        moments, gone = self.moments(), x.isnan().unsqueeze(1)
        variance = moments.covariance.diagonal(dim1=-2, dim2=-1)
        return torch.where(gone, moments.mean, x.unsqueeze(1)), torch.where(gone, variance, 0.0)

    def draw_missing(self, x: Float[Tensor, "n d"], z: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """The rows with missing cells drawn from their distribution given the seen cells and z."""
        return torch.where(x.isnan(), self.component(z).sample().to(x.dtype), x)

    # the M-step, the start and the rest

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"], length: float = 1.0) -> None:
        """M-step: `match` total / weight, pseudo-rows of the prior added. A component without any keeps its parameters.

        length: the fraction of its step that a `generalized` family takes; the others are never asked for less than 1.
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

    def require_conditional(self) -> None:
        """Raise TypeError if only some parameters are frozen and `maximize` does not say that it can do with that."""
        frozen = {name: self.is_frozen(name) for name in self._pyro_params}
        if any(frozen.values()) and not all(frozen.values()) and not self.conditional:
            raise TypeError(
                f"{', '.join(n for n in frozen if frozen[n])} of {type(self).__name__} is frozen and "
                f"{', '.join(n for n in frozen if not frozen[n])} is not, expected a maximize() that finds the best of "
                "these given the others, as `conditional = True` in the class says: write it, or fit by SVI()"
            )
        for part in self.modules():
            if isinstance(part, Family) and part is not self:
                part.require_conditional()

    def fixed_location(self) -> Float[Tensor, "k d"] | None:
        """Where the members are, in the space of the rows, if that is frozen; else None."""
        return (
            getattr(self, self.location_parameter).detach()
            if self.location_parameter and self.is_frozen(self.location_parameter)
            else None
        )

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """`total` of before the last `maximize`, as the family measures now: for one whose `statistics` move with its
        parameters. Raises TypeError if statistics say nothing at other parameters."""
        return total

    def start(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> None:
        """First parameters, from some rows and the share of each component in them: one M-step."""
        self.maximize(responsibilities.sum(0), self.summarize(x, responsibilities))

    def coordinates(self, x: Float[Tensor, "n d"], data: Moments) -> Float[Tensor, "n c"]:
        """Where rows lie for the start, k-means++, that their distances mean something: in standard deviations."""
        spread = data.covariance.diagonal().sqrt()
        return (x - data.mean) / torch.where(spread > 0, spread, 1.0)

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Take the units of the data, and the place of each component, before a fit; keeps the distribution."""

    def moments(self) -> Moments:
        """Mean (k, d) and covariance (k, d, d) of each member, for tables and pictures."""
        component = self.component()
        return Moments(component.mean.detach(), torch.diag_embed(component.variance.detach()))

    def profiles(self) -> list[Profile]:
        """The numbers by which a reader knows the members: here means and standard deviations of the columns."""
        moments = self.moments()
        columns = range(moments.mean.shape[-1])
        deviation = moments.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        return [Profile("mean", moments.mean, columns), Profile("s.d.", deviation, columns)]

    def expected_log_prob(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, " k"]:
        """What rows with these sums of responsibilities and statistics have for log probability under each member, but
        for what no parameter changes; differentiable in the parameters."""
        raise _missing(self, "expected_log_prob", "for an M-step under any prior")

    def lacking(self, method: str) -> list[str]:
        """The names of the classes, of this family and those it is made of, that do not write this method."""
        own = [type(part) for part in self.modules() if isinstance(part, Family)]
        return [part.__name__ for part in own if getattr(part, method) is getattr(Family, method)]

    def pseudo_rows(self) -> tuple[Tensor, Tensor] | None:
        """What a conjugate prior adds to the sums of the M-step: weight (s,) and total (s,), or None without one."""
        return None

    def log_prior(self) -> Float[Tensor, "*copies"]:
        """Log prior density of the parameters, 0 without a prior: (), or (copies,) of several copies."""
        return torch.zeros(() if self.copies == 1 else self.copies, dtype=torch.float64, device=device_of(self))

    def collapsed(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """(k,) which members have run into a singularity of the likelihood, in a mixture with these weights."""
        return torch.zeros_like(weights, dtype=torch.bool)

    def per_copy(self, values: Tensor) -> Tensor:
        """Sums over the members of each copy: () of a single family, (copies,) of several."""
        return values.sum() if self.copies == 1 else values.reshape(self.copies, -1).sum(-1)

    def permute(self, order: Tensor) -> None:
        """Relabel the members in place: member j becomes the former member order[j]."""
        own = [getattr(self, f"{name}_unconstrained") for name in self._pyro_params if name not in self.shared]
        for tensor in [*own, *(b for name, b in self.named_buffers(recurse=False) if name not in self.shared)]:
            tensor.data = tensor.data[order]
        for part in self.children():
            if isinstance(part, Family):
                part.permute(order)

    def free_parameters(self) -> int:
        """How many numbers are free to vary: those of frozen parameters are not."""
        return sum(
            _free(constraint, getattr(module, f"{name}_unconstrained"))
            for module in self.recorded()
            for name, (constraint, _) in module._pyro_params.items()
            if not module.is_frozen(name)
        )


def _missing(family: Family, method: str, purpose: str = "") -> NotImplementedError:
    return NotImplementedError(f"{type(family).__name__} does not write {method}(): a Family must {purpose}".rstrip())


def _free(constraint: Any, parameter: Tensor) -> int:
    """How many numbers of a parameter are free: fewer than it has on a simplex or in a triangular matrix."""
    if hasattr(constraint, "free_numbers"):
        return constraint.free_numbers(parameter)
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if isinstance(constraint, type(constraints.simplex)):
        return parameter.numel() - parameter.numel() // parameter.shape[-1]
    d = parameter.shape[-1] if parameter.ndim else 1
    if constraint in (constraints.lower_cholesky, constraints.positive_definite):
        return parameter.numel() // (d * d) * (d * (d + 1) // 2) if parameter.ndim == 3 else parameter.numel()
    if constraint is constraints.corr_cholesky:
        return parameter.numel()  # unconstrained, it has only the free ones
    return parameter.numel()
