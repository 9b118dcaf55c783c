"""Priors of a family's parameters, given as distributions of Pyro: Beta, Dirichlet, Gamma."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

Prior = str | Distribution | Mapping[str, Distribution] | None


class Priors(nn.Module):
    """Independent priors of parameters, by name. Their hyperparameters are buffers: saved with the model, not learnt.

    Args:
        prior: None; "weak", which the family sets itself, from data if it needs them (NaN until then); a distribution,
            if there is one parameter; or distributions by parameter name, where the other parameters have no prior.
            Hyperparameters are broadcast to their shape.
        kinds: The class of each parameter's prior and the shape of its hyperparameters: {"rate": (Gamma, (d,))}.
        proper: Accept every proper density, for a posterior of the parameters. Otherwise, for a maximum a posteriori,
            concentrations must be at least 1: below, the density is infinite at the boundary.

    Raises:
        ValueError: The prior has another value than those above, or a concentration is too small.
    """

    def __init__(self, prior: Prior, kinds: Mapping[str, tuple[Any, tuple[int, ...]]], proper: bool = False):
        super().__init__()
        self.proper = proper
        self.kinds = dict(kinds)
        self.is_weak = isinstance(prior, str) and prior == "weak"
        given: dict[str, Any] = {}
        if isinstance(prior, Mapping):
            given = dict(prior)
        elif isinstance(prior, Distribution) and len(kinds) == 1:
            given = dict.fromkeys(kinds, prior)
        elif not (prior is None or self.is_weak):
            wanted = " or ".join(f"{{{name!r}: {kind.__name__}(...)}}" for name, (kind, _) in kinds.items())
            raise ValueError(
                f"prior is {prior!r}, expected None, 'weak' or distributions by parameter, as {wanted}, "
                "of pyro.distributions"
            )
        if unknown := set(given) - set(kinds):
            raise ValueError(f"there is a prior for {unknown.pop()!r}, expected one for {' or '.join(kinds)}")
        self.names = tuple(kinds) if self.is_weak else tuple(given)
        for name in self.names:
            kind, shape = kinds[name]
            for hyper in kind.arg_constraints:
                self.register_buffer(f"{name}_{hyper}", torch.full(shape, torch.nan, dtype=torch.float64))
            if name in given:
                self[name] = given[name]

    def __bool__(self) -> bool:
        return bool(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __setitem__(self, name: str, distribution: Distribution) -> None:
        kind, shape = self.kinds[name]
        if not isinstance(distribution, kind):
            raise ValueError(
                f"the prior of {name} is {distribution!r}, expected a {kind.__name__} of pyro.distributions"
            )
        for hyper in kind.arg_constraints:
            # the hyperparameters of some distributions of torch are properties, which `vars` does not show
            value = torch.as_tensor(getattr(distribution, hyper), dtype=torch.float64).detach()
            if self.proper and not (torch.isfinite(value) & (value > 0)).all():
                raise ValueError(f"the prior of {name} has {hyper} {value.tolist()}, expected positive numbers")
            if hyper.startswith("concentration") and not (self.proper or (value >= 1).all()):
                raise ValueError(
                    f"the prior of {name} has {hyper} {value.tolist()}, expected at least 1: below it the density has "
                    "no maximum inside its support. Such a prior is for BayesianMixture, not for MAP"
                )
            try:
                self.register_buffer(f"{name}_{hyper}", value.expand(shape).clone())
            except RuntimeError:
                raise ValueError(
                    f"the prior of {name} has {hyper} of shape {tuple(value.shape)}, expected one that fits {shape}"
                ) from None

    def hyperparameter(self, name: str, hyper: str) -> Tensor:
        """A hyperparameter. Raises ValueError while a weak prior has not seen data."""
        value = torch.as_tensor(self._buffers[f"{name}_{hyper}"])
        if torch.isnan(value).any():
            raise ValueError('prior="weak" takes its scale from data, which this model has not seen: fit or seed it')
        return value

    def distribution(self, name: str) -> Distribution:
        """The prior of a parameter. Raises ValueError while a weak prior has not seen data."""
        kind, _ = self.kinds[name]
        return kind(**{hyper: self.hyperparameter(name, hyper) for hyper in kind.arg_constraints}, validate_args=False)

    def log_prob(self, **parameters: Tensor) -> list[Float[Tensor, "k ..."]]:
        """The log prior density of each parameter that has a prior, one number for each component (and column)."""
        return [self.distribution(name).log_prob(parameters[name]) for name in self.names]
