"""Conjugate beliefs about families of one parameter: Gamma, Beta and Dirichlet posteriors that add up counts."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints, kl_divergence

from ...data.moments import Moments
from ..families.conjugate_priors import Priors
from ..families.family import Family
from ..families.missing_values import observed_log_prob
from .beliefs import Beliefs, Sites, Theta, copy_buffers, remade


class ConjugateBeliefs(Beliefs):
    """Each parameter has a prior of the kind that its likelihood is conjugate to, and a posterior of the same kind:
    hyperparameter = that of the prior + what rows `gain`.

    prior: None for the family's own, or "weak" if it has none; "weak", the family's `weak_belief`, the same for
    any number of members; a distribution; or {parameter: distribution}.
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
        self.likelihood = remade(family, prior=None).bare()
        for name, (kind, shape) in priors.kinds.items() if conjugate else ():
            for hyper in kind.arg_constraints:
                start = torch.ones(self._k, *shape, dtype=torch.float64)
                setattr(self, f"{name}_{hyper}", PyroParam(start, constraints.positive))

    @property
    def components(self) -> int:
        """k, the number of members."""
        return self._k

    def prior(self, theta: Theta) -> Sites:
        """The priors of the parameters, the same for each member."""
        for name, (_, shape) in self.priors.kinds.items():
            yield name, _whole(self.priors.distribution(name), (self._k, *shape))

    def posterior(self, theta: Theta) -> Sites:
        """Those of the members."""
        for name, q in self._beliefs().items():
            yield name, _whole(q, ())

    def supports(self) -> dict[str, tuple[Any, torch.Size]]:
        """Those of the priors."""
        kinds = self.priors.kinds.items()
        return {name: (kind.support, torch.Size([self._k, *shape])) for name, (kind, shape) in kinds}

    def values(self, theta: Theta) -> Theta:
        """The parameters themselves."""
        return theta

    def start(
        self, x: Float[Tensor, "n d"], share: Float[Tensor, "n k"], locations: Tensor | None, data: Moments
    ) -> Theta:
        """The mean of the posterior given these shares."""
        made = self._with_units(locations, data)
        weight, total = share.sum(0), made.summarize(x, share)
        if self.conjugate:
            self.maximize(weight, total)
        return {name: q.mean for name, q in self._given(weight, total).items()}

    def set_units(self, data: Moments) -> None:
        """The weak prior."""
        self._with_units(None, data)

    def expected(self) -> tuple[Family, Float[Tensor, " k"]]:
        """The family at its expected natural parameters, and what the expected log normalizer takes beyond that."""
        return self.likelihood.expected(self._beliefs())  # type: ignore[union-attr]

    def mean(self) -> Theta:
        """E_q of each parameter."""
        return {name: q.mean for name, q in self._beliefs().items()}

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> None:
        """Hyperparameters = prior + gain."""
        for name, q in self._given(weight, total).items():
            for hyper in self.priors.kinds[name][0].arg_constraints:
                setattr(self, f"{name}_{hyper}", getattr(q, hyper))

    def divergence(self) -> Float[Tensor, ""]:
        """KL(q || p), summed over parameters."""
        q = self._beliefs()
        return torch.stack([kl_divergence(q[n], self.priors.distribution(n)).sum() for n in q]).sum()

    def predictive(self, z: Any = ...) -> Distribution:
        """E_q[p(x | z)]."""
        q = self._beliefs()
        taken = {
            name: kind(**{hyper: getattr(q[name], hyper)[z] for hyper in kind.arg_constraints}, validate_args=False)
            for name, (kind, _) in self.priors.kinds.items()
        }
        return self.likelihood.predictive(taken)  # type: ignore[union-attr]

    def predictive_log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log E_q[p(seen cells of x | k)]: columns are independent."""
        component: Any = self.predictive()
        return observed_log_prob(component, x) if x.isnan().any() else component.log_prob(x.unsqueeze(-2))

    # inside

    def _with_units(self, locations: Tensor | None, data: Moments) -> Any:
        """A family that measures in the units of the data, and the weak prior from them."""
        made = remade(self.likelihood)
        made.set_units(locations, data)
        if self.priors.is_weak:
            for name, belief in made.weak_belief(data).items():  # type: ignore[reportAttributeAccessIssue]
                self.priors[name] = belief
        copy_buffers(made, self.likelihood)
        return made

    def _beliefs(self) -> dict[str, Any]:
        """q of each parameter, with the component on dim 0."""
        return {
            name: kind(
                **{hyper: getattr(self, f"{name}_{hyper}") for hyper in kind.arg_constraints}, validate_args=False
            )
            for name, (kind, _) in self.priors.kinds.items()
        }

    def _given(self, weight: Tensor, total: Tensor) -> dict[str, Any]:
        """The posterior of rows with these sums."""
        found = {}
        gain = self.likelihood.gain(weight, total)  # type: ignore[union-attr]
        for name, (kind, _) in self.priors.kinds.items():
            hypers = {h: self.priors.hyperparameter(name, h) + gain[name][h].clamp(min=0) for h in kind.arg_constraints}
            found[name] = kind(**hypers, validate_args=False)  # rounding may take a gain of 0 below it
        return found


def _whole(distribution: Any, batch: tuple[int, ...]) -> Distribution:
    """All of its batch one event, expanded to this shape of batch and event."""
    if batch:
        distribution = distribution.expand(batch[: len(batch) - len(distribution.event_shape)])
    import pyro.distributions as dist

    named = getattr(dist, type(distribution).__name__)
    hypers = {name: getattr(distribution, name) for name in distribution.arg_constraints}
    made = named(**hypers, validate_args=False)
    return made.to_event(len(made.batch_shape)) if made.batch_shape else made
