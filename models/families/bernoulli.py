"""Bernoulli components: independent yes-or-no columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Beta, Distribution

from ...data.moments import Moments
from ..kernels.joint_codes import BLOCK_ROWS, JointCodes
from ..kernels.visit import Visit
from ..module import require_size
from .abilities import Conjugate, SideBySide, TakesMissing
from .conjugate_priors import Prior, Priors
from .exponential_family import ExponentialFamily
from .family import Family, Profile
from .probability_constraints import Probability

CERTAIN = 700.0  # log odds beyond which exp leaves float64


class Bernoulli(ExponentialFamily, Conjugate, TakesMissing, SideBySide):
    """Independent columns of 0 and 1: p(x | z = k) = product over d of probs[k, d]^x[d] (1 - probs[k, d])^(1 - x[d]).

    Parameter: `probs` (k, d), the probabilities of a 1. Maximum likelihood may put them at exactly 0 or 1.

    Args:
        components: k, the number of components.
        features: d, the number of columns of x.
        prior: None for maximum likelihood; a `torch.distributions.Beta` of each probability; or "weak":
            Beta(1 + 1 / 2k, 1 + 1 / 2k), which adds 1 / k row with half a one in each column.

    Raises:
        ValueError: An argument has another value than those above.

    Example:
        >>> import torch
        >>> from lowerbound.models import Bernoulli
        >>> family = Bernoulli(components=1, features=2)
        >>> family.match(torch.tensor([[0.5, 0.25]]))
        >>> family.log_prob(torch.tensor([[1.0, 0.0]]).double()).exp().item()  # 0.5 * 0.75
        0.375
    """

    expects = "0 or 1"
    probs: Tensor
    probs_unconstrained: Tensor

    def __init__(self, components: int, features: int, prior: Prior = None):
        super().__init__()
        require_size(components=components, features=features)
        self.joint = JointCodes([2] * features)
        half = torch.full((components, features), 0.5, dtype=torch.float64)
        self.probs = PyroParam(half, Probability())  # type: ignore[assignment]
        self.priors = Priors(prior, {"probs": (Beta, (features,))})
        if self.priors.is_weak:
            spread = torch.full((features,), 1 + 0.5 / components, dtype=torch.float64)
            self.priors["probs"] = Beta(spread, spread)

    @property
    def _shape(self) -> tuple[int, int]:
        """k and d, without making a distribution: every pass asks for them."""
        k, d, *_ = self.probs_unconstrained.shape
        return k, d

    def component(self, z: Any = ...) -> Distribution:
        """p(x | z): independent Bernoulli columns."""
        return dist.Bernoulli(logits=self.probs_unconstrained[z].clamp(-CERTAIN, CERTAIN)).to_event(1)

    def statistics(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """T(x) = x."""
        return x

    def match(self, mean: Float[Tensor, "k d"]) -> None:
        """Probabilities = means."""
        self.set_value("probs", mean.clamp(0, 1))  # a mean of ones may exceed 1 by rounding

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(x | z = k) in nats. Ones and zeros are summed separately, so that 0 log 0 = 0."""
        odds = self.probs_unconstrained
        return _product(x, odds) + _product(1 - x, -odds)

    def marginal(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """log p(observed values | z = k) in nats: a missing value counts neither as a one nor as a zero."""
        odds = self.probs_unconstrained
        return _product(x.nan_to_num(nan=0.0), odds) + _product((1 - x).nan_to_num(nan=0.0), -odds)

    def expected_statistics(self) -> Float[Tensor, "k d"]:
        """The probabilities."""
        return self.probs

    def natural(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
        """eta = log odds, A = -sum of log(1 - probs)."""
        odds = self.probs_unconstrained
        return odds, torch.nn.functional.logsigmoid(-odds).sum(-1)

    @property
    def block_rows(self) -> int:
        """How many rows `visit` takes at a time where it is not compiled."""
        return BLOCK_ROWS

    def visit(self) -> Visit:
        """The fused pass of `Categorical` with two levels, several columns at a time."""
        odds = self.probs_unconstrained.detach()
        two = torch.nn.functional.logsigmoid(torch.stack([-odds, odds], -1))  # (k, d, 2)
        return self.joint.visit(list(two.unbind(1)), lambda sums: sums[:, 1::2])  # those of the ones

    def pseudo_rows(self) -> tuple[Tensor, Tensor] | None:
        """Beta(a, b) adds a + b - 2 rows, a - 1 of them ones."""
        if not self.priors:
            return None
        a, b = (self.priors.hyperparameter("probs", name) for name in ("concentration1", "concentration0"))
        return a + b - 2, a - 1

    def weak_belief(self, data: Moments) -> dict[str, Distribution]:
        """Beta(1, 1): uniform."""
        return {"probs": Beta(torch.ones_like(data.mean), torch.ones_like(data.mean))}

    def gain(self, weight: Float[Tensor, " k"], total: Float[Tensor, "k s"]) -> dict[str, dict[str, Tensor]]:
        """To Beta(a, b): the number of ones, and of zeros."""
        return {"probs": {"concentration1": total, "concentration0": weight.unsqueeze(-1) - total}}

    def expected(self, beliefs: Mapping[str, Any]) -> tuple[Family, Float[Tensor, " k"]]:
        """The family at log odds = E[log odds]."""
        a, b = beliefs["probs"].concentration1, beliefs["probs"].concentration0
        logs = torch.stack([torch.digamma(a), torch.digamma(b)])
        short = logs.logsumexp(0) - torch.digamma(a + b)  # the two expected probabilities do not sum to 1
        return self.at({"probs_unconstrained": logs[0] - logs[1]}), short.sum(-1)

    def predictive(self, beliefs: Mapping[str, Any]) -> Distribution:
        """Bernoulli columns with the mean probabilities."""
        return dist.Bernoulli(beliefs["probs"].mean).to_event(1)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"] | None:
        """Values other than 0 and 1."""
        return None if torch.equal(x * x, x) else (x != 0) & (x != 1)

    def coordinates(self, x: Float[Tensor, "n d"], data: Moments) -> Float[Tensor, "n d"]:
        """The rows themselves: squared distances then count the columns that differ."""
        return x

    def profiles(self) -> list[Profile]:
        """The probabilities of a 1."""
        return [Profile("P", self.probs.detach(), range(self.features), [1] * self.features)]


def _product(ones: Tensor, odds: Tensor) -> Tensor:
    """ones @ log sigmoid(odds), with 0 * -inf = 0: (n, k)."""
    log = torch.nn.functional.logsigmoid(odds).clamp(min=-1e30)
    product = ones @ log.T
    return torch.where(product < -1e29, -torch.inf, product)
