"""Decoders: networks from latent variables to a distribution of the row, the likelihood of a VAE.

All are log densities or log probabilities of whole rows: summed over the columns, never averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Distribution

from ...data.moments import Spread
from ..contract import Collapse
from ..module import require_size
from .encoders import positive, positive_inverse
from .linear_gaussian import LinearGaussian
from .networks import Network, mlp, units

EVEN = 1e-2  # log odds below which a logarithm near log 2 is that of its Taylor series
VARIANCES = ("learned", "shared")
RAREST = 1e-3  # the chance that a decoder first gives a pixel that is never on; 1 less it for one always on
SINGULAR = 1e-4  # of a shared standard deviation in units of the data: float32 sees no finer residuals


class GaussianDecoder(Network):
    """x | z ~ N(mu(z), sigma^2(z)), columns independent given z.

    variance: "learned": a standard deviation of each column by the network, as the mean; "shared": one for all columns
    and rows, `scale`, which may be set, and held by raw_scale.requires_grad_(False). Its best value is the root mean
    square error of the reconstructions (Rybkin, Daniilidis & Levine 2021, "sigma-VAE"). Where there are few columns a
    learned variance may call noise what it should leave to z, and end in a lower optimum: then try a shared one.
    variance_floor: added to every variance, in squared units of the data. Without one the likelihood has no upper bound
    where a column is constant, or the network can reproduce some of its values exactly: the density there is infinite.
    hidden=(): mu is linear in z; with variance="shared" p(x) is then Gaussian, and `linear()` has it in closed form.
    """

    loc: Tensor
    unit: Tensor
    scale_is_set = False  # by hand: the data then do not move it

    def __init__(
        self,
        latent: int,
        features: int,
        hidden: Sequence[int] = (200, 200),
        variance: str = "learned",
        variance_floor: float = 0.0,
        activation: str = "tanh",
    ):
        super().__init__()
        require_size(latent=latent, features=features)
        if variance not in VARIANCES:
            raise ValueError(f"variance is {variance!r}, expected 'learned' or 'shared'")
        if not 0 <= variance_floor < float("inf"):
            raise ValueError(
                f"variance_floor is {variance_floor!r}, expected a variance of at least 0, in squared units of the data"
            )
        self.latent, self.features = latent, features
        self.variance, self.variance_floor, self.is_linear = variance, float(variance_floor), not hidden
        self.network = mlp((latent, *hidden), features * (2 if variance == "learned" else 1), activation)
        self.register_buffer("loc", torch.zeros(features))
        self.register_buffer("unit", torch.ones(features))
        if variance == "shared":
            self.raw_scale = nn.Parameter(torch.zeros(()))

    def set_units(self, data: Spread) -> None:
        """Measure from the mean of the data in its standard deviations (a shared variance: in that of an average
        column). Raises ValueError for a constant column whose variance is learnt without a floor."""
        deviation = data.variance.sqrt()
        constant = deviation <= 16 * torch.finfo(deviation.dtype).eps * data.mean.abs()
        if not self.variance_floor and (constant.all() or (constant.any() and self.variance == "learned")):
            raise ValueError(
                f"column {int(constant.nonzero()[0])} has the same value in every row, so that its variance would go "
                "to 0: give the GaussianDecoder a variance_floor, such as a hundredth of the mean variance, "
                f'{float(data.variance.mean()) / 100:.2g}, or variance="shared", or drop the column'
            )
        average = data.variance.mean().sqrt().float().repeat(self.features)
        before = self.scale.detach().cpu() if self.scale_is_set else None
        self.loc = data.mean.to(self.loc)
        self.unit = (units(data, self.variance_floor**0.5) if self.variance == "learned" else average).to(self.unit)
        if before is not None:
            self.scale = before  # in the new unit

    def reset_parameters(self) -> None:
        """Start the shared scale at the data's, unless it was set; the layers reset themselves."""
        if self.variance == "shared" and not self.scale_is_set:
            nn.init.zeros_(self.raw_scale)

    def check(self) -> None:
        """Raise `Collapse` if a shared scale has gone to 0, in units of the data: some columns follow from others."""
        if self.variance == "shared" and self.scale < SINGULAR * self.unit[0]:
            raise Collapse(
                "the shared variance of the decoder is all but 0: some columns follow from others",
                cure="give it a variance_floor, or take fewer latent dimensions",
            )

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The standard deviation that all columns share, in units of the data (variance="shared")."""
        return self._floored(positive(self.raw_scale))[0]

    @scale.setter
    def scale(self, value: Any) -> None:
        value = torch.as_tensor(value, dtype=self.unit.dtype).detach()
        if self.variance != "shared" or value.ndim or not value**2 > self.variance_floor:
            raise ValueError(
                f"scale got {value.tolist()!r}, expected one number with a square above the variance_floor of "
                f'{self.variance_floor:g}, of a decoder with variance="shared" (this one has {self.variance!r})'
            )
        unit = self.unit[0].cpu()
        relative = ((value / unit) ** 2 - (self.variance_floor**0.5 / unit) ** 2).sqrt()
        self.raw_scale.data = positive_inverse(relative).to(self.raw_scale)
        self.scale_is_set = True

    def forward(self, z: Float[Tensor, "*s q"]) -> Distribution:
        """p(x | z): batch shape of z, events (d,)."""
        numbers = self.network(z)
        loc = torch.addcmul(self.loc, self.unit, numbers[..., : self.features])
        if self.variance == "shared":
            return dist.Normal(loc, self.scale, validate_args=False).to_event(1)
        scale = self._floored(positive(numbers[..., self.features :]))
        return dist.Normal(loc, scale, validate_args=False).to_event(1)

    def _floored(self, relative: Tensor) -> Tensor:
        """The root of (unit * relative)^2 + variance_floor, whose squares may leave the range of float32."""
        if not self.variance_floor:
            return self.unit * relative
        return self.unit * (relative.square() + (self.variance_floor**0.5 / self.unit).square()).sqrt()

    def linear(self) -> LinearGaussian | None:
        """The model as x = loc + loading z + noise in float64 where it is one, else None."""
        if not self.is_linear or self.variance != "shared":
            return None
        layer, unit = self.network[0], self.unit.double()
        return LinearGaussian(
            self.loc.double() + unit * layer.bias.double(),  # type: ignore[reportCallIssue]
            unit[:, None] * layer.weight.double(),  # type: ignore[reportCallIssue]
            self.scale.double(),
        )


class BernoulliDecoder(Network):
    """x | z ~ Bernoulli(p(z)), columns independent given z: for cells of 0 and 1.

    For grey pixels, shares in between, 0 and 1 drawn anew at each reading (`Binarized`), or a
    `ContinuousBernoulliDecoder`: log p(x | z) is not a likelihood of anything there.
    """

    offset: Tensor

    def __init__(self, latent: int, features: int, hidden: Sequence[int] = (200, 200), activation: str = "tanh"):
        super().__init__()
        require_size(latent=latent, features=features)
        self.latent, self.features = latent, features
        self.network = mlp((latent, *hidden), features, activation)
        self.register_buffer("offset", torch.zeros(features))  # log odds where the network says 0

    def set_units(self, data: Spread) -> None:
        """Start at the share of ones in each column."""
        self.offset = torch.logit(data.mean.clamp(RAREST, 1 - RAREST)).to(self.offset)

    def logits(self, z: Float[Tensor, "*s q"]) -> Float[Tensor, "*s d"]:
        """The natural parameters."""
        return self.network(z) + self.offset

    def forward(self, z: Float[Tensor, "*s q"]) -> Distribution:
        """p(x | z): batch shape of z, events (d,)."""
        return dist.Bernoulli(logits=self.logits(z), validate_args=False).to_event(1)


class _ContinuousBernoulli(dist.ContinuousBernoulli):
    """Pyro's, with the constant that keeps its digits for large and small odds: C = l / tanh(l / 2) at log odds l."""

    def _cont_bern_log_norm(self) -> Tensor:
        size = self.logits.abs()
        small = size < EVEN
        safe = torch.where(small, EVEN, size)
        return torch.where(small, math.log(2) + size.square() / 12, (safe / torch.tanh(safe / 2)).log())


class ContinuousBernoulliDecoder(BernoulliDecoder):
    """x | z ~ ContinuousBernoulli(p(z)) on [0, 1], columns independent given z: for grey pixels.

    Its density is C(p) p^x (1 - p)^(1 - x), with the constant that "binary cross-entropy" of grey pixels leaves out.
    Loaiza-Ganem & Cunningham, NeurIPS 2019.
    """

    def set_units(self, data: Spread) -> None:
        """Start at even odds: the mean of a column is not its parameter here."""

    def forward(self, z: Float[Tensor, "*s q"]) -> Distribution:
        """p(x | z): batch shape of z, events (d,)."""
        return _ContinuousBernoulli(logits=self.logits(z), validate_args=False).to_event(1)


class CategoricalDecoder(Network):
    """x | z ~ Categorical(p(z)), columns independent given z: for codes 0 .. levels - 1 of categories.

    levels: how many categories, one number for each column.
    """

    mask: Tensor

    def __init__(
        self, latent: int, levels: Sequence[int], hidden: Sequence[int] = (200, 200), activation: str = "tanh"
    ):
        super().__init__()
        require_size(latent=latent, features=len(levels), **{f"levels[{j}]": n for j, n in enumerate(levels)})
        levels = [int(n) for n in levels]
        self.latent, self.features, self.levels = latent, len(levels), tuple(levels)
        self.network = mlp((latent, *hidden), len(levels) * max(levels), activation)
        self.register_buffer("mask", torch.arange(max(levels)) < torch.tensor(levels).unsqueeze(-1), persistent=False)

    def forward(self, z: Float[Tensor, "*s q"]) -> Distribution:
        """p(x | z): batch shape of z, events (d,)."""
        numbers = self.network(z).unflatten(-1, self.mask.shape)
        logits = torch.where(self.mask, numbers, -torch.inf)
        return dist.Categorical(logits=logits, validate_args=False).to_event(1)

    def outside(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n d"]:
        """What is no code of a level of its column."""
        return x >= self.mask.sum(-1).to(x.device)
