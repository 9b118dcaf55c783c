"""Any priors for the parameters of any family, by name: for a posterior by a Pyro guide or a sampler."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import Distribution, biject_to, constraints
from torch.distributions.transforms import Transform

from ...data.moments import Moments
from ..families.family import Family
from ..parameter_units import Located
from .parameter_sites import Sites, Theta, reorder_components
from .prior_and_posterior import PriorAndPosterior
from .unfitted_copy import copy_buffers, fresh_family


class NamedPriors(PriorAndPosterior):
    """Independent priors of a family's parameters, such as {"loc": Normal(0.0, 10.0), "scale": LogNormal(0.0, 2.0)}.

    Each distribution is expanded to the shape of its parameter: the same prior for all its numbers (for all its vectors
    or matrices, if it is a distribution of those).

    Args:
        family: Any family.
        prior: One of Pyro's distributions for each of its parameters.
    """

    conjugate = False

    def __init__(self, family: Family, prior: Mapping[str, Distribution]):
        super().__init__()
        made = fresh_family(family)
        own = made._parameters_by_path()
        self._k = family.components
        self.paths: dict[str, str] = {}
        for name, distribution in prior.items():
            (path,) = made._parameters_named([name])
            if not isinstance(distribution, TorchDistributionMixin):
                raise ValueError(f"the prior of {name} is {distribution!r}, expected one of pyro.distributions")
            self.paths[name] = path
        self.given = {name: _double(distribution) for name, distribution in prior.items()}
        if missing := sorted(own.keys() - self.paths.values()):
            raise ValueError(f"there is no prior for {', '.join(missing)}, expected one for each parameter")
        self.shapes = {name: _value(made, path).shape for name, path in self.paths.items()}
        self.shared = frozenset(name for name, path in self.paths.items() if _is_shared(made, path))
        self.forms = {name: _form(made, path) for name, path in self.paths.items()}
        for name, distribution in self.given.items():
            _as_one_event(name, distribution, self.shapes[name])
            if not _fits(distribution, self.forms[name], self.shapes[name]):
                raise ValueError(
                    f"the prior of {name} is {distribution!r}, expected one that gives {self.forms[name]!r} only, by a "
                    "density"
                )
        self.likelihood = made.bare()

    @property
    def components(self) -> int:
        """k, the number of components."""
        return self._k

    def prior(self, theta: Theta) -> Sites:
        """The given priors, each expanded to the shape of its parameter."""
        for name, distribution in self.given.items():
            yield name, _as_one_event(name, distribution, self.shapes[name])

    def exchangeable(self) -> Bool[Tensor, "k k"]:
        """Which pairs of components have the same prior: its density stays when the two swap random values."""
        same = super().exchangeable()
        first, second = torch.triu_indices(self._k, self._k, 1)
        order = torch.arange(self._k).repeat(len(first) + 1, 1)  # unchanged, then with two swapped
        order[1:].scatter_(1, first.unsqueeze(1), second.unsqueeze(1))
        order[1:].scatter_(1, second.unsqueeze(1), first.unsqueeze(1))
        for name, own in self.prior({}):
            if name in self.shared or not len(first):
                continue
            to = biject_to(self.given[name].support)
            u = torch.randn(to.inverse_shape(self.shapes[name]), generator=torch.Generator().manual_seed(0))
            value = torch.as_tensor(to(u.double())).expand(len(order), *self.shapes[name])
            density = own.log_prob(reorder_components(value, order))
            kept = torch.isclose(density[1:], density[0], rtol=1e-9, atol=1e-9)
            same[first, second] &= kept
            same[second, first] &= kept
        return same

    def supports(self) -> dict[str, tuple[Any, torch.Size]]:
        """The supports of the priors; locations are measured in the units of the data."""
        found = {}
        for name, distribution in self.given.items():
            form: Any = distribution.support
            if isinstance(self.forms[name], Located) and form is constraints.real:
                form = _form(self.likelihood, self.paths[name])
            found[name] = (form, self.shapes[name])
        return found

    def values(self, theta: Theta) -> Theta:
        """The values of the sites, by the paths of the parameters."""
        return {self.paths[name]: value for name, value in theta.items()}

    def start(
        self, x: Float[Tensor, "n d"], share: Float[Tensor, "n k"], locations: Tensor | None, data: Moments
    ) -> Theta:
        """The start of the family itself, by maximum likelihood."""
        made = fresh_family(self.likelihood)
        made.set_units(locations, data)
        made.start(x, share)
        copy_buffers(made, self.likelihood)
        return {name: _value(made, path).detach() for name, path in self.paths.items()}


def _part(family: Any, path: str) -> tuple[Any, str]:
    """The module and the name of the parameter that a path such as parts.0.rate leads to."""
    where, _, name = path.rpartition(".")
    return family.get_submodule(where), name


def _value(family: Any, path: str) -> Tensor:
    part, name = _part(family, path)
    return part.value(name)


def _form(family: Any, path: str) -> Any:
    """The constraint of a parameter."""
    part, name = _part(family, path)
    return part.forms[name] if name in part.forms else part._pyro_params[name][0]


def _is_shared(family: Any, path: str) -> bool:
    part, name = _part(family, path)
    return name in part.shared


def _fits(distribution: Any, form: Any, shape: torch.Size) -> bool:
    """Whether the values of a prior satisfy a parameter's constraint, judged at three points of its support."""
    if distribution.support.is_discrete:
        return False
    to = biject_to(distribution.support)
    points = [torch.full(to.inverse_shape(shape), u, dtype=torch.float64) for u in (-1.0, 0.0, 1.0)]
    return all(bool(form.check(to(point)).all()) for point in points)


def _double(part: Any) -> Any:
    """The same distribution or transform in float64: torch's Gamma rounds values to the type of its parameters."""
    part = copy.copy(part)
    for name, value in vars(part).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            vars(part)[name] = value.double()
        elif isinstance(value, Distribution):
            vars(part)[name] = _double(value)
        elif isinstance(value, list):
            vars(part)[name] = [_double(each) if isinstance(each, Transform) else each for each in value]
    return part


def _as_one_event(name: str, distribution: Any, shape: torch.Size) -> Distribution:
    """One distribution over the whole parameter, of this shape."""
    lead = shape[: len(shape) - distribution.event_dim]
    try:
        made = distribution.expand(lead)
    except RuntimeError:
        made = None
    if made is None or made.batch_shape + made.event_shape != shape:
        raise ValueError(
            f"the prior of {name} has shape {tuple(distribution.batch_shape + distribution.event_shape)}, expected one "
            f"that fits {tuple(shape)}"
        )
    return made.to_event(len(lead)) if lead else made
