"""Checks of a VAE: the shapes of encoder and decoder, and whether its precision resolves the columns."""

from __future__ import annotations

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import Distribution

from ...data.moments import Spread

BLUR = 1e-3  # of a standard deviation: how far rounding may move a value


def call_part(
    name: str, part: nn.Module, given: Tensor, latent: int, features: int | None, event: tuple[int] | None
) -> Distribution:
    """The distribution that an encoder or decoder returns for `given`, which has two rows.

    event: its event shape, None for any of one dimension. Raises TypeError or ValueError if it is not a distribution of
    this shape.
    """
    try:
        made = part(given)
    except RuntimeError as error:
        wanted = f"{latent} latent dimensions" if name == "decoder" else f"the {features} columns of the decoder"
        raise ValueError(
            f"the {name} does not take an array of shape {tuple(given.shape)}, expected it to take {wanted}: {error}"
        ) from error
    if not isinstance(made, TorchDistributionMixin) or not isinstance(made, Distribution):
        kind = f"{type(made).__module__}.{type(made).__name__}"
        raise TypeError(
            f"the {name} returns a {kind}, expected a distribution of pyro.distributions, such as "
            "dist.Normal(loc, scale).to_event(1)"
        )
    batch = (len(given),)
    if made.batch_shape != batch or len(made.event_shape) != 1 or event not in (None, tuple(made.event_shape)):
        want, cure = f"({latent},)" if event else "(columns,)", "end it by .to_event(1)"
        if len(made.event_shape) > 1:
            cure = "flatten its output to (n, columns), and end it by .to_event(1)"
        elif event and made.batch_shape == batch:
            cure = f"make the VAE with latent={made.event_shape[0]}, or the encoder with {latent}"
        raise ValueError(
            f"the {name} returns batch shape {tuple(made.batch_shape)} and event shape {tuple(made.event_shape)} "
            f"for an array of shape {tuple(given.shape)}, expected {batch} and {want}: {cure}"
        )
    return made


def require_precision(spread: Spread, dtype: torch.dtype) -> None:
    """Raise ValueError if a column has too few digits in this precision, or a scale outside of its range."""
    deviation, least = spread.variance.sqrt(), torch.finfo(dtype).tiny ** 0.4  # whose squares are still numbers
    blurred = torch.finfo(dtype).eps * spread.mean.abs() > BLUR * deviation
    blurred &= deviation > 1e-12 * spread.mean.abs()  # a constant column has no differences to blur
    strange = (deviation > 0) & ((deviation < least) | (deviation > 1 / least))
    if strange.any():
        column = int(strange.nonzero()[0])
        raise ValueError(
            f"{spread.column(column)} has standard deviation {float(deviation[column]):g}, whose square leaves the "
            "range of this precision: measure it in another unit, or make the model double by model.double()"
        )
    if blurred.any():
        column = int(blurred.nonzero()[0])
        raise ValueError(
            f"{spread.column(column)} has mean {float(spread.mean[column]):g} and standard deviation "
            f"{float(spread.variance[column]) ** 0.5:g}, too far from zero for the digits of this precision: "
            "subtract the mean, or make the model double by model.double()"
        )
