"""The Gaussian decoder: means by a network, standard deviations by the network or one for all columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from ...data.moments import Spread
from ..contract import Collapse
from ..module import require_size
from ..readable_value import readable
from .linear_gaussian import LinearGaussian
from .networks import Network, mlp, positive, positive_inverse, units

VARIANCES = ("learned", "shared")


SINGULAR = 1e-4  # smallest shared standard deviation in units of the data: float32 has no finer residuals


class GaussianDecoder(Network):
    """x | z ~ N(mu(z), diag(sigma^2(z))): real columns, independent given z.

    With hidden=() and variance="shared", p(x) is Gaussian, and `linear()` has it in closed form.

    Args:
        latent: q, the number of latent dimensions.
        features: d, the number of columns.
        hidden: Sizes of the hidden layers; () makes the network linear in z.
        variance: "learned": the network gives a standard deviation for each column and row. "shared": one standard
            deviation for all, the property `scale`; its best value is the root mean square error of the reconstructions
            (Rybkin, Daniilidis & Levine 2021, "sigma-VAE"). With few columns, a learned variance may explain as noise
            what z should explain, and stop at a lower optimum: then try "shared".
        variance_floor: Added to every variance, in squared units of the data. Without it the likelihood has no upper
            bound if a column is constant or the network can reproduce some values exactly.
        activation: "tanh", "relu", "silu" or "gelu".

    Raises:
        ValueError: A size is not a whole number of at least 1, variance or activation is another word, or
            variance_floor is negative or infinite.

    Example:
        >>> import torch
        >>> from lowerbound.models import GaussianDecoder
        >>> p = GaussianDecoder(latent=2, features=4, hidden=(8,), variance="shared")(torch.zeros(5, 3, 2))
        >>> p.log_prob(torch.zeros(3, 4)).shape
        torch.Size([5, 3])
    """

    is_numeric = True
    loc: Tensor
    unit: Tensor
    scale_is_set = False  # assigned by the user: the data then do not change it

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
        """Measure from the mean of the data, in the standard deviation of each column (of an average column if shared).

        Raises:
            ValueError: A column is constant, its variance is learned and there is no floor.
        """
        deviation = data.variance.sqrt()
        constant = deviation <= 16 * torch.finfo(deviation.dtype).eps * data.mean.abs()
        if not self.variance_floor and (constant.all() or (constant.any() and self.variance == "learned")):
            raise ValueError(
                f"{data.column(int(constant.nonzero()[0]))} has the same value in every row, so that its variance "
                "would go to 0: give the GaussianDecoder a variance_floor, such as a hundredth of the mean variance, "
                f'{float(data.variance.mean()) / 100:.2g}, or variance="shared", or drop the column'
            )
        average = data.variance.mean().sqrt().float().repeat(self.features)
        before = self.scale.detach().cpu() if self.scale_is_set else None
        self.loc = data.mean.to(self.loc)
        self.unit = (units(data, self.variance_floor**0.5) if self.variance == "learned" else average).to(self.unit)
        if before is not None:
            self.scale = before  # the same value in the new unit

    def reset_parameters(self) -> None:
        """Set the shared scale to that of the data, unless it was assigned; layers reset themselves."""
        if self.variance == "shared" and not self.scale_is_set:
            nn.init.zeros_(self.raw_scale)

    def check(self) -> None:
        """Raise `Collapse` if a shared scale is almost 0 in units of the data: some columns follow from others."""
        if self.variance == "shared" and self.scale < SINGULAR * self.unit[0]:
            raise Collapse(
                "the shared variance of the decoder is almost 0: some columns follow from others",
                cure="give it a variance_floor, or take fewer latent dimensions",
            )

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The standard deviation that all columns share, (), in units of the data, if variance="shared".

        Assign a number to start from it; hold it with raw_scale.requires_grad_(False).
        """
        return readable(self._floored(positive(self.raw_scale))[0])

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
        """p(x | z) of z (..., latent): batch shape (...), event shape (features,)."""
        numbers = self.network(z)
        loc = torch.addcmul(self.loc, self.unit, numbers[..., : self.features])
        if self.variance == "shared":
            return dist.Normal(loc, self.scale, validate_args=False).to_event(1)
        scale = self._floored(positive(numbers[..., self.features :]))
        return dist.Normal(loc, scale, validate_args=False).to_event(1)

    def _floored(self, relative: Tensor) -> Tensor:
        """The root of (unit * relative)^2 + variance_floor, without squares that leave the range of float32."""
        if not self.variance_floor:
            return self.unit * relative
        return self.unit * (relative.square() + (self.variance_floor**0.5 / self.unit).square()).sqrt()

    def linear(self) -> LinearGaussian | None:
        """The model as x = loc + loading z + noise in float64, if hidden=() and variance="shared"; else None."""
        if not self.is_linear or self.variance != "shared":
            return None
        layer, unit = self.network[0], self.unit.double()
        return LinearGaussian(
            self.loc.double() + unit * layer.bias.double(),  # type: ignore[reportCallIssue]
            unit[:, None] * layer.weight.double(),  # type: ignore[reportCallIssue]
            self.scale.double(),
        )
