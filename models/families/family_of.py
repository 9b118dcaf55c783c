"""Any distribution of Pyro as components: a family that needs no formula for its M-step, only gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints, transform_to

from ...data.moments import Moments
from ..data_units import Located, ScaledCholesky
from ..module import require_size
from .abilities import AllowsFrozen, TakesMissing
from .distribution_parameters import constraint_of, parameters_of
from .family import Profile
from .initial_values import best_guess
from .missing_values import observed_log_prob

THIN = 1e-10  # a variance relative to others
LONGEST = 2.0  # the longest step of the M-step in any unconstrained coordinate
ROWS = 4096  # rows whose scores are held at a time


class FamilyOf(AllowsFrozen, TakesMissing):
    """Components of any Pyro distribution: x | z = k ~ distribution(parameters[k]), for each column by itself if it is
    one of numbers. FamilyOf(dist.Laplace, components=2, features=1) has parameters `loc` and `scale`, both (2, 1).

    parameters: the names of its parameters, by default those its constructor requires or has numbers for; fixed:
    arguments that are not fitted, such as {"total_count": 10}. Each parameter moves inside its constraint. prior: None,
    distributions by parameter name, or "weak": a k-th of the information of a row, around the fit of one component.

    The M-step is one step of scoring by the rows: the sum of the scores of log p over that of their outer products
    (Berndt, Hall, Hall & Hausman 1974), in unconstrained coordinates. The engine shortens it where it would lower the
    bound (a generalized EM, Dempster, Laird & Rubin 1977), so that a run ends where the gradient is zero.
    """

    generalized = True

    def __init__(
        self,
        distribution: type[Distribution],
        components: int,
        features: int,
        parameters: Sequence[str] | None = None,
        fixed: Mapping[str, Any] | None = None,
        prior: str | Mapping[str, Distribution] | None = None,
    ):
        super().__init__()
        require_size(components=components, features=features)
        if not (isinstance(distribution, type) and issubclass(distribution, TorchDistributionMixin)):
            raise TypeError(f"got {distribution!r}, expected one of pyro.distributions, such as Laplace")
        if not (prior is None or prior == "weak" or isinstance(prior, Mapping)):
            raise ValueError(f"prior is {prior!r}, expected None, 'weak' or distributions by parameter name")
        self._k, self._d = components, features
        self.distribution = distribution
        self.fixed = dict(fixed or {})
        self.prior = prior
        self.expects = f"values of a {distribution.__name__}"
        self.names = tuple(parameters or parameters_of(distribution, self.fixed))
        kinds = {name: constraint_of(distribution, name) for name in self.names}
        self.is_joint = any(kind.event_dim > 0 for kind in kinds.values())  # of whole rows, not of single columns
        self.takes_missing = not self.is_joint
        if unknown := set(prior if isinstance(prior, Mapping) else {}) - set(self.names):
            raise ValueError(f"there is a prior for {unknown.pop()!r}, expected one for {', '.join(self.names)}")
        for name, kind in kinds.items():
            size = (features,) * (max(1, kind.event_dim) if not self.is_joint or kind.event_dim > 0 else 0)
            start = transform_to(kind)(torch.zeros(components, *size, dtype=torch.float64))
            if kind in (constraints.real, constraints.real_vector):  # measured in its own unit, which the start learns
                self.register_buffer(f"{name}_origin", torch.zeros_like(start))
                self.register_buffer(f"{name}_unit", torch.ones_like(start))
                kind = Located(self, f"{name}_origin", f"{name}_unit")
            elif kind is constraints.lower_cholesky:  # rows of the factor have the units of their columns
                self.register_buffer("unit", torch.ones(features, dtype=torch.float64))
                self.shared |= {"unit"}
                kind = ScaledCholesky(self)
            setattr(self, name, PyroParam(start.clone(), kind))
        self.location_parameter = "loc" if "loc" in self.names and self.loc.shape == (components, features) else None
        if not self.names:
            raise ValueError(
                f"{distribution.__name__} has no parameter with a constraint of its own, expected a distribution whose "
                "support does not move with its parameters"
            )
        if prior == "weak":
            self.register_buffer("weak_centre", torch.full(self._where().shape[1:], torch.nan, dtype=torch.float64))
            self.shared |= {"weak_centre"}
        try:
            event = self._build({name: getattr(self, name) for name in self.names}, validate=True).event_shape
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(
                f"a {distribution.__name__} cannot be made of parameters {', '.join(self.names) or '(none)'} and fixed "
                f"{', '.join(self.fixed) or '(none)'}, expected all that its constructor needs: {error}"
            ) from None
        if event != (features,):
            raise ValueError(
                f"a {distribution.__name__} with parameters {', '.join(self.names)} gives rows of shape "
                f"{tuple(event)}, expected ({features},): name other parameters, or fix some"
            )

    # what a family must say

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): the distribution."""
        return self._build({name: getattr(self, name)[z] for name in self.names})

    @property
    def components(self) -> int:
        """k, the number of members."""
        return self._k

    @property
    def features(self) -> int:
        """d, the number of columns of x."""
        return self._d

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """Scores and their outer products, summed over members: of use only through `summarize`."""
        return torch.stack([self.summarize(row, row.new_ones(1, self.components)).sum(0) for row in x.split(1)])

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """One step of scoring from the average scores and outer products."""
        self.maximize(mean.new_ones(len(mean)), mean)

    # hooks

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(x | z = k) in nats, differentiable in the parameters."""
        return self._build({name: getattr(self, name) for name in self.names}).log_prob(x.unsqueeze(-2))

    def summarize(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """Sums over rows of the scores (k, b, q) of each block of parameters that belong together, of a column or of a
        whole row, and of their outer products (k, b, q, q)."""
        k, b, q = self._where().shape
        total = x.new_zeros(k, b * q * (1 + q))
        for rows, share in zip(x.split(ROWS), responsibilities.split(ROWS), strict=True):
            if not len(rows):
                continue  # not even torch's distributions can sum over none
            score = self._scores(rows)  # (n, k, b, q)
            first = torch.einsum("nk,nkbq->kbq", share, score)
            second = torch.einsum("nk,nkbq,nkbr->kbqr", share, score, score)
            total = total + torch.cat([first.flatten(1), second.flatten(1)], -1)
        return total

    def complete(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> Float[Tensor, "k s"]:
        """The sums of the scores of what is seen."""
        return self.summarize(x, responsibilities)

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"], length: float = 1.0) -> None:
        """M-step: one step of scoring, `length` times as long. A component without weight keeps its parameters."""
        where = self._where()
        k, b, q = where.shape
        score, outer = total.split([b * q, b * q * q], -1)
        score, outer = score.reshape(k, b, q), outer.reshape(k, b, q, q)
        if self.prior is not None:
            score, outer = score + self._prior_score(), outer + torch.eye(q, dtype=outer.dtype, device=outer.device) / k
        if any(map(self.is_frozen, self.names)):  # the step of the others alone
            free = self._blocks(
                {n: torch.full_like(getattr(self, n + "_unconstrained"), not self.is_frozen(n)) for n in self.names}
            ).bool()
            score = torch.where(free, score, 0.0)
            outer = torch.where(
                free.unsqueeze(-1) & free.unsqueeze(-2), outer, torch.eye(q, dtype=outer.dtype, device=outer.device)
            )
        ridge = 1e-9 * outer.diagonal(dim1=-2, dim2=-1) + 1e-300  # of each by itself: they may differ in units
        factor, _ = torch.linalg.cholesky_ex(outer + torch.diag_embed(ridge))
        step = torch.cholesky_solve(score.unsqueeze(-1), factor).squeeze(-1).nan_to_num()
        longest = step.abs().amax(-1, keepdim=True).clamp(min=1e-300)
        # Far from the top all rows agree where to go, and the steeper the slope the shorter is the step of scoring:
        # there it is made the longest. Agreement is 1 at most (Cauchy & Schwarz), and 0 at the top.
        agreement = (score * step).sum(-1, keepdim=True) / weight.clamp(min=1e-300)[:, None, None]
        least = LONGEST * agreement.nan_to_num().clamp(0, 1) ** 2
        step = step * (longest.clamp(min=least, max=torch.full_like(least, LONGEST)) / longest)
        self._move(where + torch.where((weight > 0)[:, None, None], length * step, 0.0))

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """Raises TypeError: scores are slopes at the parameters where they were taken."""
        raise TypeError(
            "the statistics of FamilyOf are slopes at the parameters as they stand, expected sums that can be averaged "
            "over steps: fit it with EM() or SVI()"
        )

    def start(self, x: Float[Tensor, "n d"], responsibilities: Float[Tensor, "n k"]) -> None:
        """First parameters: the best of some guesses from means and variances, then steps of scoring on these rows.

        One component for all rows comes first: real parameters are measured from its, in units of what a row says of
        them, and it is the centre of the weak prior.
        """
        prior, self.prior = self.prior, None
        frozen = {name: getattr(self, name).detach().clone() for name in self.names if self.is_frozen(name)}
        alike = responsibilities.mean(1, keepdim=True).expand_as(responsibilities)
        for name in self.names:
            if hasattr(self, f"{name}_origin"):
                setattr(self, f"{name}_origin", torch.zeros_like(getattr(self, f"{name}_origin")))
                setattr(self, f"{name}_unit", torch.ones_like(getattr(self, f"{name}_unit")))
        if "unit" in self._buffers:
            share = responsibilities.sum(1) / responsibilities.sum()
            spread = (share @ x**2 - (share @ x) ** 2).clamp(min=0).sqrt()
            self.unit = torch.where(spread > 0, spread, 1.0)
        self._begin(x, alike, frozen)
        self._measure(x, alike)
        self._settle(x, alike)
        self.prior = prior
        if prior == "weak":
            self.weak_centre = self._where()[0].clone()
        self._begin(x, responsibilities, frozen)
        self._settle(x, responsibilities)

    def log_prior(self) -> Float[Tensor, ""]:
        """log p(theta): a density in the parameters; with prior="weak", in their unconstrained coordinates."""
        if isinstance(self.prior, Mapping):
            return torch.stack([p.log_prob(getattr(self, name)).sum() for name, p in self.prior.items()]).sum()
        if self.prior is None:
            return super().log_prior()
        if torch.isnan(self.weak_centre).any():
            raise ValueError('prior="weak" takes its scale from data, which this model has not seen: fit or seed it')
        away = self._blocks({name: getattr(self, f"{name}_unconstrained") for name in self.names}) - self.weak_centre
        return torch.distributions.Normal(0.0, self.components**0.5).log_prob(away).sum()

    def profiles(self) -> list[Profile]:
        """The parameters."""
        found = []
        for name in self.names:
            value = getattr(self, name).detach()
            if value.ndim == 3:  # a matrix, of which the lower half says all
                found += [
                    Profile(f"{name}[{i},{j}]", value[:, i, j : j + 1], [-1])
                    for i in range(value.shape[1])
                    for j in range(i + 1)
                ]
            else:
                found.append(Profile(name, value.reshape(len(value), -1), range(self._d) if value.ndim == 2 else [-1]))
        return found

    def set_units(self, centres: Float[Tensor, "k d"] | None, data: Moments) -> None:
        """Of parameters that were set by hand, the average is the centre of the weak prior."""
        if self.prior == "weak" and torch.isnan(self.weak_centre).any():
            self.weak_centre = self._where().mean(0)

    def collapsed(self, weights: Float[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """Which members are thin beside the average member and beside their own mean, where they have a mean and a
        variance: members of a scale family may be as different as they like."""
        try:
            moments = self.moments()
        except NotImplementedError:
            return super().collapsed(weights)
        variance = moments.covariance.diagonal(dim1=-2, dim2=-1)
        return ((variance < THIN * (weights @ variance)) & (variance < THIN * moments.mean**2)).any(-1)

    # inside

    def _build(self, values: Mapping[str, Tensor], validate: bool = False) -> Any:
        # no validation: a step that is too long may leave the range of numbers, which shows in the bound
        make: Any = self.distribution
        made = make(**values, **self.fixed, validate_args=validate)
        return made if self.is_joint else made.to_event(1)

    def _transform(self, name: str) -> Any:
        return transform_to(self._pyro_params[name][0])

    def _blocks(self, unconstrained: Mapping[str, Tensor]) -> Float[Tensor, "*n k b q"]:
        """Tensors (..., k, d) as (..., k, d, q), a block for each column; if joint, (..., k, 1, q), one for all."""
        parts = list(unconstrained.values())
        if not self.is_joint:
            return torch.stack(parts, -1)
        lead = parts[0].ndim - getattr(self, f"{self.names[0]}_unconstrained").ndim + 1
        return torch.cat(
            [part.flatten(lead) if part.ndim > lead else part.unsqueeze(-1) for part in parts], -1
        ).unsqueeze(-2)

    def _where(self) -> Float[Tensor, "k b q"]:
        """The unconstrained parameters."""
        return self._blocks({name: getattr(self, f"{name}_unconstrained").detach() for name in self.names})

    def _move(self, where: Float[Tensor, "k b q"]) -> None:
        """Set the unconstrained parameters."""
        flat = where.flatten(1)
        for i, name in enumerate(self.names):
            own = getattr(self, f"{name}_unconstrained")
            if self.is_joint:
                size = own[0].numel()
                own.data, flat = flat[:, :size].reshape(own.shape).clone(), flat[:, size:]
            else:
                own.data = where[..., i].clone()
            self.names_set.add(name)

    def _scores(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k b q"]:
        """The gradient of log p(x | k) of each row in the unconstrained parameters of k."""
        with torch.enable_grad():
            free = {
                name: getattr(self, f"{name}_unconstrained").detach().expand(len(x), *getattr(self, name).shape).clone()
                for name in self.names
            }
            for tensor in free.values():
                tensor.requires_grad_()
            values = {name: self._transform(name)(tensor) for name, tensor in free.items()}
            component = self._build(values)
            log_prob = observed_log_prob(component, x) if x.isnan().any() else component.log_prob(x.unsqueeze(-2))
            slopes = torch.autograd.grad(log_prob.sum(), list(free.values()))
        return self._blocks(dict(zip(self.names, slopes, strict=True)))

    def _prior_score(self) -> Float[Tensor, "k b q"]:
        with torch.enable_grad():
            parameters = [getattr(self, f"{name}_unconstrained") for name in self.names]
            slopes = torch.autograd.grad(self.log_prior(), parameters, allow_unused=True)
        filled = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, slopes, strict=True)]
        return self._blocks(dict(zip(self.names, filled, strict=True)))

    def _value(self, x: Tensor, responsibilities: Tensor) -> Float[Tensor, " k"]:
        """The expected log-likelihood of each component."""
        log_prob = torch.where(responsibilities > 0, self.log_prob(x).detach(), 0.0)
        return (responsibilities * log_prob).sum(0).nan_to_num(nan=-torch.inf)

    def _settle(self, x: Tensor, responsibilities: Tensor, steps: int = 30) -> None:
        """Steps of scoring on these rows, each halved until no component loses by it."""
        weight, best = responsibilities.sum(0), self._value(x, responsibilities)
        for _ in range(steps):
            before, total, length = self._where(), self.summarize(x, responsibilities), 1.0
            while True:
                self.maximize(weight, total, length)
                value = self._value(x, responsibilities)
                worse = value < best
                if not worse.any() or length < 1e-3:
                    break
                self._move(before)
                length /= 4
            self._move(torch.where(worse[:, None, None], before, self._where()))
            gain, best = (value - best).max(), torch.maximum(value, best)
            if gain < 1e-6 * weight.sum():
                break

    def _measure(self, x: Tensor, responsibilities: Tensor) -> None:
        """Measure real parameters from where they are, in units of what one row says of them."""
        k, b, q = self._where().shape
        second = self.summarize(x, responsibilities)[:, b * q :].reshape(k, b, q, q).diagonal(dim1=-2, dim2=-1)
        unit = (responsibilities.sum(0)[:, None, None] / second.clamp(min=1e-300)).sqrt()
        flat, start = unit.flatten(1), 0
        for i, name in enumerate(self.names):
            own = getattr(self, name).detach().clone()
            size = own[0].numel()
            mine = flat[:, start : start + size].reshape(own.shape) if self.is_joint else unit[..., i]
            start += size
            if hasattr(self, f"{name}_origin"):
                setattr(self, f"{name}_origin", own)
                setattr(self, f"{name}_unit", torch.where(torch.isfinite(mine), mine, 1.0))
                setattr(self, name, own)

    def _begin(self, x: Tensor, responsibilities: Tensor, frozen: Mapping[str, Tensor]) -> None:
        """The best of some guesses, beside frozen parameters."""
        kinds = {name: constraint_of(self.distribution, name) for name in self.names}
        shapes = {name: tuple(getattr(self, name).shape) for name in self.names}
        make = partial(self.distribution, **self.fixed, validate_args=False)  # type: ignore[reportCallIssue]
        for name, value in best_guess(make, kinds, shapes, x, responsibilities, frozen).items():
            setattr(self, name, value)
