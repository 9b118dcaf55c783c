"""The parameters of a distribution of Pyro, each in its constraint, and together as one array of free numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints, transform_to

from ..module import require_size
from ..parameter_units import Located, ScaledCholesky
from .distribution_parameters import default_parameters, parameter_constraint
from .family import Family

HEAVY_TAILED = (dist.StudentT, dist.MultivariateStudentT, dist.Cauchy)  # meant to take outliers


class AnyDistribution(Family):
    """k distributions of one class of Pyro: its parameters as those of a family.

    A distribution of single numbers applies to each column separately. One of whole rows is `is_joint`. Unconstrained
    parameters come in blocks (k, b, q): b = d blocks, one for each column, or b = 1 if joint; q numbers in each.
    """

    boundary: tuple[float, ...] = ()  # values of the support without a density

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
        self._components, self._features = components, features
        self.distribution = distribution
        self.fixed = dict(fixed or {})
        self.prior = prior
        self.expects = f"values of a {distribution.__name__}"
        self.names = tuple(parameters or default_parameters(distribution, self.fixed))
        kinds = {name: parameter_constraint(distribution, name) for name in self.names}
        self.is_joint = any(kind.event_dim > 0 for kind in kinds.values())
        self.takes_missing = not self.is_joint
        self.robust_start = issubclass(distribution, HEAVY_TAILED)
        if unknown := set(prior if isinstance(prior, Mapping) else {}) - set(self.names):
            raise ValueError(f"there is a prior for {unknown.pop()!r}, expected one for {', '.join(self.names)}")
        for name, kind in kinds.items():
            size = (features,) * (max(1, kind.event_dim) if not self.is_joint or kind.event_dim > 0 else 0)
            start = transform_to(kind)(torch.zeros(components, *size, dtype=torch.float64))
            if kind in (constraints.real, constraints.real_vector):  # measured in its own unit, which `start` learns
                self.register_buffer(f"{name}_origin", torch.zeros_like(start))
                self.register_buffer(f"{name}_unit", torch.ones_like(start))
                kind = Located(self, f"{name}_origin", f"{name}_unit")
            elif kind is constraints.lower_cholesky:  # rows of the factor have the units of their columns
                self.register_buffer("unit", torch.ones(features, dtype=torch.float64))
                self.shared |= {"unit"}
                kind = ScaledCholesky(self)
            setattr(self, name, PyroParam(start.clone(), kind))
        has_loc = "loc" in self.names and self.value("loc").shape == (components, features)
        self.location_parameter = "loc" if has_loc else None
        if not self.names:
            raise ValueError(
                f"{distribution.__name__} has no parameter with a constraint of its own, expected a distribution whose "
                "support does not depend on its parameters"
            )
        if prior == "weak":
            shape = self.free_blocks().shape[1:]
            self.register_buffer("weak_centre", torch.full(shape, torch.nan, dtype=torch.float64))
            self.shared |= {"weak_centre"}
        self._require_rows_of(features)
        self.boundary = self._values_without_density()
        if self.boundary:
            excluded = " or ".join(f"{value:g}" for value in self.boundary)
            self.expects += f" inside its support: at {excluded} its density is zero or infinite"

    def _require_rows_of(self, features: int) -> None:
        """Raise ValueError unless the parameters make a distribution of rows with so many columns."""
        distribution, names = self.distribution.__name__, ", ".join(self.names)
        try:
            made = self.build({name: self.value(name) for name in self.names}, validate=True)
            event, self.is_numeric = made.event_shape, not made.support.is_discrete
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(
                f"a {distribution} cannot be made of parameters {names or '(none)'} and fixed "
                f"{', '.join(self.fixed) or '(none)'}, expected all that its constructor needs: {error}"
            ) from None
        if event != (features,):
            raise ValueError(
                f"a {distribution} with parameters {names} gives rows of shape {tuple(event)}, expected ({features},): "
                "name other parameters, or fix some"
            )

    def _values_without_density(self) -> tuple[float, ...]:
        """Which of 0 and 1 are in the support, but have a density of zero or infinity for all parameters but special
        ones, such as those of a Beta or Dirichlet. One such row decides a fit by itself."""
        found = []
        for value in (0.0, 1.0):
            row = torch.full((1, self._features), value, dtype=torch.float64)
            if self.is_joint:  # one entry of a row whose others sum to the rest
                row[0, 1:] = (1 - value) / max(1, self._features - 1)
            densities = []
            for u in (-0.7, 0.7):
                values = {
                    n: transform_to(form)(torch.full_like(self.unconstrained(n), u))
                    for n, (form, _) in self._pyro_params.items()
                }
                try:
                    made = self.build(values)
                    outside = self.outside(row)
                    inside = outside is None or not outside.any()
                    densities.append(~made.log_prob(row).isfinite().any() if inside else torch.tensor(False))
                except (ValueError, RuntimeError, NotImplementedError):  # some supports and densities are not written
                    densities.append(torch.tensor(False))
            if all(map(bool, densities)):
                found.append(value)
        return tuple(found)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Values outside of the support, or on its boundary where the density is zero or infinite."""
        outside = super().outside(x)
        for value in self.boundary:
            outside = (x == value) if outside is None else outside | (x == value)
        return outside

    @property
    def components(self) -> int:
        """k, the number of components."""
        return self._components

    @property
    def features(self) -> int:
        """d, the number of columns of x."""
        return self._features

    @property
    def has_prior(self) -> bool:
        """Whether there is a prior."""
        return self.prior is not None

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): the distribution."""
        return self.build({name: self.value(name)[z] for name in self.names})

    def build(self, values: Mapping[str, Tensor], validate: bool = False) -> Any:
        """The distribution with these values of its parameters. It is not validated by default: too long a step may
        leave the range of float64, which the bound then shows."""
        make: Any = self.distribution
        made = make(**values, **self.fixed, validate_args=validate)
        return made if self.is_joint else made.to_event(1)

    def is_measured(self, name: str) -> bool:
        """Whether a parameter is measured from an origin in a unit."""
        return f"{name}_origin" in self._buffers

    def as_blocks(self, unconstrained: Mapping[str, Tensor]) -> Float[Tensor, "*n k b q"]:
        """Tensors (..., k, d) as (..., k, d, q), a block for each column; if joint, (..., k, 1, q), one for all."""
        parts = list(unconstrained.values())
        if not self.is_joint:
            return torch.stack(parts, -1)
        lead = parts[0].ndim - self.unconstrained(self.names[0]).ndim + 1
        flat = [part.flatten(lead) if part.ndim > lead else part.unsqueeze(-1) for part in parts]
        return torch.cat(flat, -1).unsqueeze(-2)

    def free_blocks(self) -> Float[Tensor, "k b q"]:
        """The unconstrained parameters."""
        return self.as_blocks({name: self.unconstrained(name).detach() for name in self.names})

    def set_free_blocks(self, blocks: Float[Tensor, "k b q"]) -> None:
        """Set the unconstrained parameters."""
        flat = blocks.flatten(1)
        for i, name in enumerate(self.names):
            own = self.unconstrained(name)
            if self.is_joint:
                size = own[0].numel()
                own.data, flat = flat[:, :size].reshape(own.shape).clone(), flat[:, size:]
            else:
                own.data = blocks[..., i].clone()
            self.names_set.add(name)
