"""The prior and posterior of a `Product`: independent ones for its groups of columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from pyro.nn import PyroModule
from torch import Tensor
from torch.distributions import Distribution

from ...data.moments import Moments
from ..families.family import Family
from ..families.joint_distribution import JointDistribution
from .parameter_sites import Sites, Theta
from .prior_and_posterior import PriorAndPosterior
from .unfitted_copy import fresh_family


class ProductPosterior(PriorAndPosterior):
    """Independent priors and posteriors of the parameters of each group of columns; the sites of group g end in _g.

    Args:
        product: The family.
        made: The prior and posterior of each group.
        conjugate: Whether all groups have posteriors in closed form.
    """

    def __init__(self, product: Any, made: Sequence[PriorAndPosterior], conjugate: bool = True):
        super().__init__()
        self.conjugate = conjugate
        self.likelihood = fresh_family(product).bare()
        self.parts = PyroModule[torch.nn.ModuleList](made)  # type: ignore[reportArgumentType]
        for g, part in enumerate(made):  # the same objects: units that a group learns are then those of the product
            self.likelihood.parts[g] = part.likelihood  # type: ignore[index]
        self.shared = frozenset(f"{name}_{g}" for g, part in enumerate(made) for name in part.shared)

    @property
    def components(self) -> int:
        """k, the number of components."""
        return self._parts[0].components

    def prior(self, theta: Theta) -> Sites:
        """The sites of the groups' priors, group by group."""
        return self._sites(lambda part, own: part.prior(own), theta)

    def posterior(self, theta: Theta) -> Sites:
        """The sites of the groups' posteriors, group by group."""
        return self._sites(lambda part, own: part.posterior(own), theta)

    def supports(self) -> dict[str, tuple[Any, torch.Size]]:
        """The constraints and shapes of all groups' sites."""
        return {f"{name}_{g}": own for g, part in enumerate(self._parts) for name, own in part.supports().items()}

    def values(self, theta: Theta) -> Theta:
        """The values of all groups' parameters."""
        return {
            f"parts.{g}.{path}": value
            for g, part in enumerate(self._parts)
            for path, value in part.values(self._theta_of_group(theta, g)).items()
        }

    def start(
        self, x: Float[Tensor, "n d"], share: Float[Tensor, "n k"], locations: Tensor | None, data: Moments
    ) -> Theta:
        """The start of each group."""
        found: Theta = {}
        for g, (part, group) in enumerate(zip(self._parts, self._columns, strict=True)):
            own = data.part(group)
            begun = part.start(x[:, group], share, None if locations is None else locations[:, group], own)
            found |= {f"{name}_{g}": value for name, value in begun.items()}
        return found

    def set_units(self, data: Moments) -> None:
        """Let each group learn from its columns."""
        for part, group in zip(self._parts, self._columns, strict=True):
            part.set_units(data.part(group))

    def exchangeable(self) -> Bool[Tensor, "k k"]:
        """Which pairs of components have the same priors in all groups."""
        return torch.stack([part.exchangeable() for part in self._parts]).all(0)

    def expected(self) -> tuple[Family, Float[Tensor, " k"]]:
        """The families of the groups side by side."""
        each = [part.expected() for part in self._parts]
        view = self.likelihood.at({})
        for g, (family, _) in enumerate(each):
            view.parts._modules[str(g)] = family  # type: ignore[union-attr]
        return view, torch.stack([correction for _, correction in each]).sum(0)

    def mean(self) -> Theta:
        """The means of all groups."""
        return {f"{name}_{g}": value for g, part in enumerate(self._parts) for name, value in part.mean().items()}

    def maximize(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> None:
        """Set the posterior of each group."""
        for part, own in self._split(total):
            part.maximize(weight, own)

    def remeasure(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        """The sums of each group, as its family remeasures them."""
        return torch.cat([part.remeasure(weight, own) for part, own in self._split(total)], -1)

    def divergence(self) -> Float[Tensor, ""]:
        """The sum of the groups' divergences in nats."""
        return torch.stack([part.divergence() for part in self._parts]).sum()

    def predictive(self, z: Any = ...) -> Distribution:
        """The predictive distributions of the groups, independent given z because q(theta) is a product over groups."""
        return JointDistribution([part.predictive(z) for part in self._parts], self._columns)

    def predictive_log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """The sum of the groups' log densities in nats."""
        pairs = zip(self._parts, self._columns, strict=True)
        return torch.stack([part.predictive_log_prob(x[:, group]) for part, group in pairs]).sum(0)

    def permute(self, order: Int[Tensor, " k"]) -> None:
        """Relabel the components of all groups in place."""
        for part in self._parts:
            part.permute(order)

    # inside

    @property
    def _parts(self) -> list[PriorAndPosterior]:
        return list(self.parts)  # type: ignore[arg-type]

    @property
    def _columns(self) -> list[list[int]]:
        return [list(group) for group in self.likelihood.columns]  # type: ignore[union-attr]

    def _theta_of_group(self, theta: Theta, g: int) -> Theta:
        end = f"_{g}"
        return {name.removesuffix(end): value for name, value in theta.items() if name.endswith(end)}

    def _sites(self, sites_of: Callable[[PriorAndPosterior, Theta], Sites], theta: Theta) -> Sites:
        for g, part in enumerate(self._parts):
            own = self._theta_of_group(theta, g)
            for name, distribution in sites_of(part, own):
                yield f"{name}_{g}", distribution
                own[name] = theta[f"{name}_{g}"]

    def _split(self, total: Tensor) -> list[tuple[PriorAndPosterior, Tensor]]:
        """Each group with its part of the sums, as long as the statistics of its family."""
        families = [part.expected()[0] for part in self._parts]
        none = total.new_ones(0, self.components)
        pairs = zip(families, self._columns, strict=True)
        sizes = [f.summarize(total.new_ones(0, len(group)), none).shape[1] for f, group in pairs]
        return list(zip(self._parts, total.split(sizes, -1), strict=True))
