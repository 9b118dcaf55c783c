"""The prior and posterior of a `Conjugate` family: a Gamma, Beta or Dirichlet for each of its parameters."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from ...data.moments import Moments
from ..families.conjugate_priors import Priors
from ..families.family import Family
from ..families.hooks.density import never_where_overflowed
from ..families.missing_values import observed_log_prob
from .kl_divergences import divergence
from .parameter_sites import Sites, Theta
from .prior_and_posterior import PriorAndPosterior
from .unfitted_copy import copy_buffers, fresh_family


class ConjugatePosterior(PriorAndPosterior):
    """Each parameter has a conjugate prior and a posterior of the same kind: hyperparameter = the prior's + `gain`.

    `gain` is a method of the family: what the statistics of rows add to each hyperparameter. The hyperparameters of q
    are called `{parameter}_{hyperparameter}`, such as `rate_concentration` of a Poisson.

    Args:
        family: A family with the ability `Conjugate`.
        prior: None for the family's own, or "weak" if it has none; "weak" for the family's `weak_belief`, the same for
            any number of components; a distribution; or {parameter: distribution}.
        conjugate: Whether q has a closed form.
    """

    def __init__(self, family: Any, prior: Any = None, conjugate: bool = True):
        super().__init__()
        own = family.priors
        given = ("weak" if not own or own.is_weak else None) if prior is None else prior
        self.conjugate = conjugate
        if given is None:
            given = {name: own.distribution(name) for name in own.names}
        priors = Priors(given, own.kinds, proper=True)
        if missing := sorted(priors.kinds.keys() - set(priors.names)):
            raise ValueError(f"there is no prior for {', '.join(missing)}, expected one for each parameter")
        self.priors = priors
        self._k = family.components
        self.likelihood = fresh_family(family, prior=None).bare()
        for name, (kind, shape) in priors.kinds.items() if conjugate else ():
            for hyper in kind.arg_constraints:
                start = torch.ones(self._k, *shape, dtype=torch.float64)
                setattr(self, f"{name}_{hyper}", PyroParam(start, constraints.positive))

    @property
    def components(self) -> int:
        """k, the number of components."""
        return self._k

    def prior(self, theta: Theta) -> Sites:
        """The priors of the parameters, the same for each component."""
        for name, (_, shape) in self.priors.kinds.items():
            yield name, _as_one_event(self.priors.distribution(name), (self._k, *shape))

    def posterior(self, theta: Theta) -> Sites:
        """The posteriors of the parameters."""
        for name, q in self._posteriors().items():
            yield name, _as_one_event(q, ())

    def supports(self) -> dict[str, tuple[Any, torch.Size]]:
        """The constraint of each prior's kind, and the shape of each parameter."""
        kinds = self.priors.kinds.items()
        return {name: (kind.support, torch.Size([self._k, *shape])) for name, (kind, shape) in kinds}

    def values(self, theta: Theta) -> Theta:
        """theta itself: the sites are the parameters."""
        return theta

    def start(
        self, x: Float[Tensor, "n d"], share: Float[Tensor, "n k"], locations: Tensor | None, data: Moments
    ) -> Theta:
        """The mean of the posterior given these responsibilities."""
        made = self._with_units(locations, data)
        weight, total = share.sum(0), made.summarize(x, share)
        if self.conjugate:
            self.maximize(weight, total)
        return {name: q.mean for name, q in self._given(weight, total).items()}

    def set_units(self, data: Moments) -> None:
        """Learn the weak prior."""
        self._with_units(None, data)

    def expected(self) -> tuple[Family, Float[Tensor, " k"]]:
        """The family at its expected natural parameters, and log normalizer - E[log normalizer] there."""
        return self.likelihood.expected(self._posteriors())  # type: ignore[union-attr]

    def mean(self) -> Theta:
        """E_q[theta]."""
        return {name: q.mean for name, q in self._posteriors().items()}

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> None:
        """Hyperparameters = prior + gain."""
        for name, q in self._given(weight, total).items():
            for hyper, value in _hyperparameters(q).items():
                setattr(self, f"{name}_{hyper}", value)

    def divergence(self) -> Float[Tensor, ""]:
        """KL(q || p) in nats, summed over parameters and components."""
        q = self._posteriors()
        return torch.stack([divergence(q[n], self.priors.distribution(n)).sum() for n in q]).sum()

    def predictive(self, z: Any = ...) -> Distribution:
        """E_q[p(x | z)]."""
        of_z = {
            name: type(q)(**{hyper: value[z] for hyper, value in _hyperparameters(q).items()}, validate_args=False)
            for name, q in self._posteriors().items()
        }
        return self.likelihood.predictive(of_z)  # type: ignore[union-attr]

    def predictive_log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log E_q[p(observed values of x | z = k)] in nats: columns are independent."""
        component: Any = self.predictive()
        if x.isnan().any():
            return observed_log_prob(component, x)
        return never_where_overflowed(component.log_prob(x.unsqueeze(-2)), x)

    # inside

    def _with_units(self, locations: Tensor | None, data: Moments) -> Any:
        """A fresh family in the units of the data. Sets the weak prior from them, too."""
        made = fresh_family(self.likelihood)
        made.set_units(locations, data)
        if self.priors.is_weak:
            for name, belief in made.weak_belief(data).items():  # type: ignore[reportAttributeAccessIssue]
                self.priors[name] = belief
        copy_buffers(made, self.likelihood)
        return made

    def _posteriors(self) -> dict[str, Any]:
        """q of each parameter, with the component on dim 0."""
        return {
            name: kind(**{hyper: self.value(f"{name}_{hyper}") for hyper in kind.arg_constraints}, validate_args=False)
            for name, (kind, _) in self.priors.kinds.items()
        }

    def _given(self, weight: Tensor, total: Tensor) -> dict[str, Any]:
        """The posterior of each parameter given these statistics."""
        found = {}
        gain = self.likelihood.gain(weight, total)  # type: ignore[union-attr]
        for name, (kind, _) in self.priors.kinds.items():
            hypers = {h: self.priors.hyperparameter(name, h) + gain[name][h].clamp(min=0) for h in kind.arg_constraints}
            found[name] = kind(**hypers, validate_args=False)  # clamped: rounding may take a gain of 0 below 0
        return found


def _hyperparameters(distribution: Distribution) -> dict[str, Tensor]:
    """The arguments of a distribution's constructor, by name."""
    return {name: getattr(distribution, name) for name in distribution.arg_constraints}  # a Beta's are properties


def _as_one_event(distribution: Any, shape: tuple[int, ...]) -> Distribution:
    """Pyro's form of a distribution of torch, expanded to this shape if one is given; its batch becomes event."""
    if shape:
        distribution = distribution.expand(shape[: len(shape) - len(distribution.event_shape)])
    made = vars(dist)[type(distribution).__name__](**_hyperparameters(distribution), validate_args=False)
    return made.to_event(len(made.batch_shape)) if made.batch_shape else made
