"""A mixture with a distribution q over its weights and theta: its form, its mean, and how it is replaced."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..families.family import Family
from ..families.missing_values import log_prob_of_rows
from ..mixtures.e_step import label_log_mask
from ..mixtures.mixture import Mixture
from .closed_form_posterior import ClosedFormPosterior
from .dirichlet_weights import DirichletWeights
from .guide_posterior import GuidePosterior
from .parameter_sites import Theta
from .prior_and_posterior import PriorAndPosterior
from .sampled_posterior import PosteriorDraws, SampledPosterior
from .stick_breaking_weights import MixtureWeights, StickBreakingWeights
from .unfitted_copy import fresh_family


class MixtureWithPosterior(Mixture):
    """What all parts of `BayesianMixture` share: q(weights, theta) in one of its forms, and what is read at its mean.

    Attributes:
        q: The posterior: in closed form, by a guide of Pyro's, or as the draws of a sampler.
        shares: The prior of the weights, and q(weights) if it is in closed form.
        beliefs: The prior of theta, and q(theta) if it is in closed form.
    """

    q: Any
    shares: MixtureWeights
    beliefs: PriorAndPosterior
    _blank_family: Family  # says what rows may hold, whatever the parameters

    # the centre of q

    @property
    def weights(self) -> Float[Tensor, " k"]:  # type: ignore[override]
        """E_q[weights], (k,); those at the median of a guide. Read only."""
        return self.q.mean()[0].detach()

    @property
    def family(self) -> Family:  # type: ignore[override]
        """The family at the mean of q, or at the median of a guide. Read only."""
        with torch.no_grad():
            return self.q.mean()[1]

    def centre(self) -> Mixture:
        """The plain `Mixture` with the mean weights and the family at the mean of theta.

        Example:
            >>> from lowerbound.models import BayesianMixture, Poisson, seed
            >>> model = seed(BayesianMixture(Poisson(2, 1)), [[0.0], [1.0], [2.0], [9.0], [8.0], [10.0]])
            >>> model.centre().family.rate.flatten().round(decimals=1).tolist()
            [1.6, 8.4]
        """
        self._require_parameters()
        return self._plain_mixture(self.weights, self.family)

    def doubts(self, rows: float) -> list[str]:
        """None: the prior keeps components from shrinking onto a few rows."""
        return []

    # what kind of distribution q is

    @property
    def takes_missing(self) -> bool:
        """Whether rows may have missing values (NaN)."""
        return self.beliefs.likelihood.takes_missing

    @property
    def has_exact_bound(self) -> bool:
        """Whether the bound has a closed form, as `SVI("exact")` needs it."""
        return self.q.has_exact_bound

    @property
    def is_sampled(self) -> bool:
        """Whether q consists of the draws of a sampler."""
        return self.q.is_sampled

    @property
    def is_point(self) -> bool:
        """Whether q is a single point, that of an AutoDelta."""
        return self.q.is_point

    @property
    def is_set(self) -> bool:
        """Whether there is a posterior: from a fit, from `seed`, or from a file."""
        return self.q.is_set

    def set_draws(self, theta: Theta, size: PosteriorDraws, term: Float[Tensor, ""]) -> None:
        """Replace q by the draws of a sampler. `NUTS` calls it. Your own sampler may call it, too.

        Args:
            theta: The draws, one chain after the other: {"weights": (chains * draws, k), ...}, as in `draw`.
            size: The number of chains and of draws of each.
            term: The `global_term` of the model, (): the bound of log p(all rows) less the sum of `bound` over rows.
        """
        positional, named = self.arguments
        vars(self)["arguments"] = (positional[:4], {**named, "guide": size})  # a saved model is made again like this
        for part in (self.beliefs, self.shares):  # they no longer have their own posterior
            part.bare()
            for inner in part.modules():
                if isinstance(inner, PriorAndPosterior | DirichletWeights | StickBreakingWeights):
                    vars(inner)["conjugate"] = False
        if "q" in vars(self):
            del vars(self)["q"]
        self._set_q(size)
        self.q.set_draws(theta, term)

    def hold(self, theta: Theta, size: PosteriorDraws, term: Tensor) -> None:
        """The former name of `set_draws`."""
        warnings.warn("BayesianMixture.hold is now called set_draws", DeprecationWarning, stacklevel=2)
        self.set_draws(theta, size, term)

    # inside

    @property
    def _row_family(self) -> Family:
        return self._blank_family

    @property
    def _allows_empty(self) -> bool:
        return True  # a component without rows has the prior as its posterior

    @property
    def _k(self) -> int:
        return self.beliefs.components

    def _set_q(self, guide: Any) -> None:
        if guide is None:
            vars(self)["q"] = ClosedFormPosterior(self.shares, self.beliefs)
        elif isinstance(guide, PosteriorDraws):
            self.q = SampledPosterior(self.shares, self.beliefs, guide)
        else:
            self.q = GuidePosterior(self.shares, self.beliefs, guide)

    def _require_parameters(self) -> None:
        if not self.q.is_set:
            raise ValueError("this mixture has no posterior yet: fit it, or seed(model, x) it")

    def _plain_mixture(self, weights: Tensor, family: Family) -> Mixture:
        made = Mixture(fresh_family(self.beliefs.likelihood))
        made.load_state_dict(_mixture_state(family, made, weights))
        made.schema = self.schema
        return made

    def _family_and_weights(self) -> tuple[Family, Float[Tensor, " k"]]:
        # a parameter without gradient would count as frozen, and a frozen scale is never a collapse
        with torch.enable_grad():
            family, log_weights = self.q.views()[0]
        return family, log_weights.detach().exp()

    def _log_joints(self, x: Tensor, labels: Tensor | None) -> Float[Tensor, "s n k"]:
        """log weights + log p(x | z = k) at each view of q."""
        self._require_parameters()
        joint = torch.stack([log_prob_of_rows(family, x) + log_weights for family, log_weights in self.q.views()])
        return joint if labels is None else joint + label_log_mask(labels, joint.shape[-1])

    def _log_joint(self, x: Tensor, labels: Tensor | None) -> Float[Tensor, "n k"]:
        """The same of one view; with several, the log of the mean responsibilities."""
        joint = self._log_joints(x, labels)
        return joint[0] if len(joint) == 1 else joint.softmax(-1).mean(0).log()


def _mixture_state(family: Family, made: Mixture, weights: Tensor) -> dict[str, Tensor]:
    """The state of the mixture `made` with these weights and the parameters and buffers of this view of a family."""
    made.weights = weights
    state = made.state_dict()
    for path in made.family._parameters_by_path():
        where, _, name = path.rpartition(".")
        part: Any = family.get_submodule(where)
        state[f"family.{path}_unconstrained"] = part.unconstrained(name).detach()
    buffers = dict(family.named_buffers())
    return {name: buffers.get(name.removeprefix("family."), value) for name, value in state.items()}  # type: ignore
