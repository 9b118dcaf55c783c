"""Categorical components: columns of categories, independent within a component (latent class analysis)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Dirichlet, Distribution

from ...data.moments import Moments
from ...data.traced_rows import any_missing
from ..kernels.joint_codes import BLOCK_ROWS, JointCodes
from ..kernels.visit import Visit
from ..module import require_size
from .abilities import Conjugate, SideBySide, TakesMissing
from .conjugate_priors import Prior, Priors
from .count_checks import invalid_counts
from .exponential_family import ExponentialFamily
from .family import Family, Profile
from .probability_constraints import Simplexes, log_simplexes


class Categorical(ExponentialFamily, Conjugate, TakesMissing, SideBySide):
    """Independent columns of categories: p(x | z = k) = product over d of probs[k, d, x[d]].

    x[d] is the code of a category, 0 .. levels[d] - 1. A mixture of them is latent class analysis (Goodman, Biometrika
    61 (1974), 215-231).

    Parameter: `probs` (k, d, L), with L the largest number of levels. It is 0 beyond the levels of a column. Maximum
    likelihood may put other probabilities at exactly 0, too.

    Args:
        components: k, the number of components.
        levels: The number of categories of each column, d whole numbers.
        prior: None for maximum likelihood; a `torch.distributions.Dirichlet` over the L levels, of which each column
            uses its own; or "weak", which adds 1 / k row, spread evenly over the levels.

    Raises:
        ValueError: An argument has another value than those above.

    Example:
        >>> import torch
        >>> from lowerbound.models import Categorical
        >>> family = Categorical(components=1, levels=[2, 3])
        >>> family.match(torch.tensor([[0.5, 0.5, 0.25, 0.25, 0.5]]))  # shares of each level of each column in turn
        >>> round(family.log_prob(torch.tensor([[1.0, 2.0]]).double()).exp().item(), 6)  # 0.5 * 0.5
        0.25
    """

    probs: Tensor
    probs_unconstrained: Tensor
    mask: Tensor

    def __init__(self, components: int, levels: Sequence[int], prior: Prior = None):
        super().__init__()
        levels = [int(n) if float(n) == int(n) else n for n in torch.as_tensor(levels).flatten().tolist()]
        require_size(components=components, features=len(levels), **{f"levels[{j}]": n for j, n in enumerate(levels)})
        most = max(levels)
        mask = torch.arange(most) < torch.tensor(levels).unsqueeze(-1)  # (d, L)
        self.levels = tuple(levels)
        self.is_conjugate = len(set(levels)) == 1  # otherwise the columns have posteriors of different sizes
        self.joint = JointCodes(levels)
        self.shared = frozenset({"mask"})
        self.register_buffer("mask", mask, persistent=False)
        even = (mask / mask.sum(-1, keepdim=True)).double().expand(components, -1, -1)
        self.probs = PyroParam(even.clone(), Simplexes(mask))  # type: ignore[assignment]
        self.priors = Priors(prior, {"probs": (Dirichlet, (len(levels), most))})
        if self.priors.is_weak:
            self.priors["probs"] = Dirichlet(1 + even[0] / components)

    @property
    def expects(self) -> str:  # type: ignore[override]
        """What the columns may hold, in words."""
        each = set(self.levels)
        codes = f"0 .. {max(each) - 1}" if len(each) == 1 else f"0 .. levels - 1, with levels {list(self.levels)}"
        return f"the code of a category, {codes}"

    @property
    def _shape(self) -> tuple[int, int]:
        """k and d, without making a distribution: every pass asks for them."""
        k, d, *_ = self.probs_unconstrained.shape
        return k, d

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): independent categorical columns."""
        return dist.Categorical(logits=self._log_probs()[z]).to_event(1)

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """T(x): for each level of each column in turn, 1 if x has this level, else 0."""
        hot = x.unsqueeze(-1) == torch.arange(self.mask.shape[1], dtype=x.dtype, device=x.device)  # (n, d, L)
        indicators = hot.to(x.dtype)
        if any_missing(x):
            indicators = indicators.masked_fill(x.isnan().unsqueeze(-1), torch.nan)
        return indicators[:, self.mask]

    def match(self, mean: Float[Tensor, "k s"]) -> None:
        """Probabilities = shares of the levels."""
        share = mean.new_zeros(len(mean), *self.mask.shape)
        share[:, self.mask] = mean
        self.set_value("probs", share / share.sum(-1, keepdim=True))

    def expected_statistics(self) -> Float[Tensor, "k s"]:
        """The probabilities of each level of each column in turn."""
        return self.probs[:, self.mask]

    def natural(self) -> tuple[Float[Tensor, "k s"], Float[Tensor, "k d"]]:
        """eta = log probs, A = 0."""
        eta = self._log_probs()[:, self.mask]
        return eta, eta.new_zeros(len(eta), len(self.mask))

    @property
    def block_rows(self) -> int:
        """How many rows `visit` takes at a time where it is not compiled."""
        return BLOCK_ROWS

    def visit(self) -> Visit:
        """The fused pass, several columns at a time."""
        with torch.no_grad():
            log_probs = self._log_probs()
            return self.joint.visit([log_probs[:, j, :n] for j, n in enumerate(self.levels)])

    def pseudo_rows(self) -> tuple[Tensor, Tensor] | None:
        """A Dirichlet adds concentration - 1 rows of each level."""
        if not self.priors:
            return None
        total = torch.where(self.mask, self.priors.hyperparameter("probs", "concentration") - 1, 0.0)
        return total.sum(-1, keepdim=True).expand_as(total)[self.mask], total[self.mask]

    def log_prior(self) -> Float[Tensor, "*copies"]:
        """The log Dirichlet densities, summed over columns, each over its own levels; 0 without a prior."""
        if not self.priors:
            return super().log_prior()
        alpha, own = self.priors.hyperparameter("probs", "concentration"), self.mask
        normalizer = torch.lgamma(torch.where(own, alpha, 0.0).sum(-1)) - torch.where(own, alpha.lgamma(), 0.0).sum(-1)
        kernel = torch.where(own & (alpha > 1), (alpha - 1) * self._log_probs(), 0.0)
        return normalizer.sum() * (self.components // self.copies) + self.sum_per_copy(kernel)

    def coordinates(self, x: Float[Tensor, "n d"], data: Moments) -> Float[Tensor, "n s"]:
        """T(x): squared distances are then twice the number of columns that differ."""
        return self.statistics(x)

    def weak_belief(self, data: Moments) -> dict[str, Distribution]:
        """Dirichlet(1, ..., 1): uniform."""
        return {"probs": Dirichlet(torch.ones(self.mask.shape, dtype=torch.float64))}

    def gain(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> dict[str, dict[str, Tensor]]:
        """To a Dirichlet: the number of rows with each level."""
        return {"probs": {"concentration": total.unflatten(-1, self.mask.shape)}}

    def expected(self, beliefs: Mapping[str, Any]) -> tuple[Family, Float[Tensor, " k"]]:
        """The family at probabilities proportional to exp(E[log probs])."""
        alpha = beliefs["probs"].concentration
        logs = torch.digamma(alpha) - torch.digamma(alpha.sum(-1, keepdim=True))
        return self.at({"probs_unconstrained": logs}), logs.logsumexp(-1).sum(-1)

    def predictive(self, beliefs: Mapping[str, Any]) -> Distribution:
        """Categorical columns with the mean probabilities."""
        return dist.Categorical(beliefs["probs"].mean).to_event(1)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Values that are not the code of a level of their column."""
        return invalid_counts(x, x.new_tensor(self.levels))

    def profiles(self) -> list[Profile]:
        """The probability of each level of each column."""
        column, level = self.mask.nonzero().T.tolist()
        return [Profile("P", self.probs.detach()[:, self.mask], column, level)]

    def _log_probs(self) -> Float[Tensor, "k d l"]:
        return log_simplexes(self.probs_unconstrained, self.mask)
