"""The variational autoencoder: any decoder for p(x | z), any encoder for q(z | x)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ...data.input_checks import describe_first_value
from ...data.moments import Spread
from ...data.rows import as_rows
from ..module import on_the_cpu, require_size
from ..random_state import fixed_seed, gpus
from .continuous_latent import ContinuousLatent, evaluating
from .decoders import GaussianDecoder
from .distribution_views import parameters_of, rebuilt
from .encoders import MLPEncoder
from .networks import Network

BLUR = 1e-3  # of a standard deviation: how far rounding a cell may move it

# what a column may hold, by the support of its distribution, and what to do about others
CURES: dict[type, tuple[str, str]] = {
    type(constraints.boolean): (
        "0 or 1",
        ": binarise grey pixels, best anew at each reading (Binarized(x), x in [0, 1]), or take a "
        "ContinuousBernoulliDecoder for them",
    ),
    type(constraints.unit_interval): ("numbers in [0, 1]", ": divide pixels by their largest value, such as 255"),
    constraints.integer_interval: ("the code of a category, 0, 1, ... below the levels of its column", ""),
    type(constraints.nonnegative_integer): ("counts, 0, 1, 2, ...", ""),
    type(constraints.positive): ("positive numbers", ""),
}


class VAE(ContinuousLatent):
    """z ~ N(0, I), x | z ~ decoder(z), with the guide z ~ encoder(x): inference amortized over all rows.

    encoder: any module from rows (n, d) to a distribution with batch shape (n,) and events (latent,); decoder: any
    module from z (n, latent) to a distribution with batch shape (n,) and events (d,). Both give distributions of
    `pyro.distributions`. Ready-made: `MLPEncoder`, `ConvEncoder`; `GaussianDecoder`, `BernoulliDecoder`,
    `ContinuousBernoulliDecoder`, `CategoricalDecoder`. Precision and device are those of the parameters: float32 on the
    processor, unless you say model.double() or model.to("cuda"). The ready-made ones measure in the units of the data;
    yours see z and rows as they are: standardize the columns, or learn them in `Network.set_units`. Modules of
    your own that derive from `Network` may answer more of what a model asks.

    The bound is E_q[log p(x | z)] - KL(q(z | x) || N(0, I)), the sum over all columns, in nats.
    Kingma & Welling, ICLR 2014; Rezende, Mohamed & Wierstra, ICML 2014.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent: int):
        super().__init__()
        require_size(latent=latent)
        for name, module in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(module, nn.Module):
                raise TypeError(f"the {name} is a {type(module).__name__}, expected a torch.nn.Module")
        self.latent = latent
        self.encoder, self.decoder = encoder, decoder
        own = next(self.parameters(), torch.zeros(()))
        # two rows, since batch normalisation takes no single one; nothing is learnt from them
        with torch.no_grad(), evaluating(self):
            given = self._call("decoder", own.new_zeros(2, latent), (2,), None)
            other = self.decoder(own.new_ones(2, latent))
            self.features = given.event_shape[0]
            self._call("encoder", own.new_zeros(2, self.features), (2,), (latent,))
        if latent > self.features:
            raise ValueError(
                f"latent is {latent} for {self.features} features, expected at most as many: a latent variable is to "
                "be smaller than what it explains"
            )
        self._support = fixed_support(given, other)
        self.register_buffer("anchored", torch.zeros((), dtype=torch.bool))

    @property
    def learning_rate(self) -> float:
        """The first step of Adam that suits the model: 0.001 for networks, 0.05 where all is linear."""
        return 5e-2 if self.linear() is not None and getattr(self.encoder, "is_linear", False) else 1e-3

    def decode(self, z: Float[Tensor, "*s q"]) -> Distribution:
        """p(x | z), what the decoder gives. One that is not of lowerbound sees (n, latent) whatever the shape of z, as
        torch's layers for pictures and batch normalization expect it."""
        if isinstance(self.decoder, Network) or z.ndim == 2:
            return self.decoder(z)
        flat = self.decoder(z.reshape(-1, self.latent))
        shaped = {name: value.unflatten(0, z.shape[:-1]) for name, value in parameters_of(flat).items()}
        return rebuilt(flat, shaped)

    def encode(self, x: Float[Tensor, "n d"]) -> Distribution:
        """q(z | x), what the encoder gives."""
        return self.encoder(x)

    def evidence(self, x: Any) -> Float[Tensor, " n"] | None:
        """log p(x) of each row where the decoder is linear with one shared variance (`GaussianDecoder.linear`), in
        float64; None for any other decoder."""
        linear = self.linear()
        if linear is None:
            return None
        with torch.no_grad():
            return linear.log_evidence(self._table(x).double() - linear.loc)

    def linear(self) -> Any:
        """The `LinearGaussian` that the decoder stands for, without gradients; None if it is no such decoder."""
        with torch.no_grad():
            return self.decoder.linear() if isinstance(self.decoder, Network) else None

    @on_the_cpu
    @torch.no_grad()
    def initialize(self, x: Any, weights: Any, generator: torch.Generator, redraw: bool = True) -> None:
        """Learn the names of the columns and, where the ready-made parts were not fitted before, the units of the data;
        with redraw=True draw new weights for every layer that can (`reset_parameters`), but keep frozen ones."""
        rows = as_rows(x, weights)
        self._unlabelled(rows.labels)
        self._require_columns(rows)
        self.schema = rows.schema or self.schema
        spread = rows.spread  # reads all rows in order, and so can say which cell is not a number
        for chunk in rows.chunks():
            self._allow(chunk.x, rows.columns, chunk.row_numbers)
        self._require_digits(spread)
        if self.anchored and not redraw:
            return
        frozen = [
            (parameter, parameter.detach().clone()) for parameter in self.parameters() if not parameter.requires_grad
        ]
        if redraw:
            with fixed_seed(int(torch.randint(2**62, (), generator=generator)), gpus(self)):
                for part in self.modules():
                    if hasattr(part, "reset_parameters"):  # as torch's own layers have it
                        part.reset_parameters()  # type: ignore[reportCallIssue]
            for parameter, value in frozen:
                parameter.data = value
        for part in (self.encoder, self.decoder):
            settled = self.anchored and not any(parameter.requires_grad for parameter in part.parameters())
            if isinstance(part, Network) and not settled:
                part.set_units(spread)
        self.anchored = torch.ones_like(self.anchored)

    def check(self) -> None:
        """Raise `Collapse` if the decoder has run into a singularity of its likelihood."""
        if isinstance(self.decoder, Network):
            self.decoder.check()

    def free_parameters(self) -> int:
        """Those of the decoder: the encoder is a way to compute, not part of p(x). One with a closed form has q (q - 1)
        / 2 fewer, the rotations of z."""
        count = sum(parameter.numel() for parameter in self.decoder.parameters() if parameter.requires_grad)
        turns = self.latent * (self.latent - 1) // 2 if count and self.linear() is not None else 0
        return count - turns

    # inside

    def _require_digits(self, spread: Spread) -> None:
        """Raise ValueError if the rows lie so far from zero that the model's precision blurs what sets them apart."""
        own = next(self.parameters(), torch.zeros(())).dtype
        blurred = torch.finfo(own).eps * spread.mean.abs() > BLUR * spread.variance.sqrt()
        blurred &= spread.variance.sqrt() > 1e-12 * spread.mean.abs()  # of constant columns there is nothing to see
        deviation, least = spread.variance.sqrt(), torch.finfo(own).tiny ** 0.4  # whose squares are still numbers
        strange = (deviation > 0) & ((deviation < least) | (deviation > 1 / least))
        if strange.any():
            column = int(strange.nonzero()[0])
            raise ValueError(
                f"column {column} has standard deviation {float(deviation[column]):g}, whose square leaves the range "
                "of this precision: measure it in another unit, or make the model double by model.double()"
            )
        if blurred.any():
            column = int(blurred.nonzero()[0])
            raise ValueError(
                f"column {column} has mean {float(spread.mean[column]):g} and standard deviation "
                f"{float(spread.variance[column]) ** 0.5:g}, too far from zero for the digits of this precision: "
                "subtract the mean, or make the model double by model.double()"
            )

    def _call(self, name: str, given: Tensor, batch: tuple, event: tuple | None) -> Distribution:
        """What the encoder or decoder makes of `given`. Raises TypeError or ValueError if that is no distribution of
        such a shape."""
        try:
            made = getattr(self, name)(given)
        except RuntimeError as error:
            wanted = f"{self.latent} latent dimensions"
            if name == "encoder":
                wanted = f"the {self.features} columns of the decoder"
            raise ValueError(
                f"the {name} does not take an array of shape {tuple(given.shape)}, expected it to take {wanted}: "
                f"{error}"
            ) from error
        if not isinstance(made, TorchDistributionMixin) or not isinstance(made, Distribution):
            kind = f"{type(made).__module__}.{type(made).__name__}"
            raise TypeError(
                f"the {name} returns a {kind}, expected a distribution of pyro.distributions, such as "
                "dist.Normal(loc, scale).to_event(1)"
            )
        if made.batch_shape != batch or len(made.event_shape) != 1 or event not in (None, tuple(made.event_shape)):
            want, cure = f"({self.latent},)" if event else "(columns,)", "end it by .to_event(1)"
            if len(made.event_shape) > 1:
                cure = "flatten what it gives to (n, columns), and end it by .to_event(1)"
            elif event and made.batch_shape == batch:
                cure = f"make the VAE with latent={made.event_shape[0]}, or the encoder with {self.latent}"
            raise ValueError(
                f"the {name} returns batch shape {tuple(made.batch_shape)} and event shape {tuple(made.event_shape)} "
                f"for an array of shape {tuple(given.shape)}, expected {batch} and {want}: {cure}"
            )
        return made

    def _allow(
        self, x: Float[Tensor, "n d"], columns: Sequence[Any] | None, numbers: Tensor | range | None = None
    ) -> None:
        """Raise ValueError if x holds what the decoder cannot give; numbers: of the rows."""
        support: Any = self._support
        if support is None or support is constraints.real:
            return
        outside = ~support.check(x)
        if outside.ndim == 1:  # a constraint of whole rows, such as shares that sum to 1
            outside = outside.unsqueeze(1)
        more = self.decoder.outside(x) if isinstance(self.decoder, Network) else None
        outside = outside if more is None else outside | more
        if not outside.any():
            return
        wanted, cure = CURES.get(type(support), (repr(support), ""))
        raise ValueError(f"{describe_first_value(outside, x, columns, numbers)}, expected {wanted}{cure}")


def fixed_support(one: Distribution, other: Distribution) -> Any:
    """What both distributions may give, as a constraint of each cell where they have one; None where it varies with z,
    or from cell to cell."""
    support: Any = one.support  # type: ignore[reportAttributeAccessIssue]
    beside: Any = other.support  # type: ignore[reportAttributeAccessIssue]
    while isinstance(support, constraints.independent):
        support, beside = support.base_constraint, beside.base_constraint
    for name in ("lower_bound", "upper_bound"):
        bound = getattr(support, name, 0.0)
        if not torch.equal(torch.as_tensor(bound), torch.as_tensor(getattr(beside, name, 0.0))):
            return None
        if isinstance(bound, Tensor) and bound.ndim:
            if not (bound == bound.flatten()[0]).all():
                return None
            support = copy.copy(support)
            setattr(support, name, bound.flatten()[0])
    return support


def linear_vae(features: int, latent: int, covariance: str = "diag") -> VAE:
    """The VAE whose optimum is probabilistic PCA: linear encoder and decoder, one variance for all columns.

    Lucas, Tucker, Grosse & Norouzi, "Don't blame the ELBO!", NeurIPS 2019. covariance: of q, "diag" or "full".
    """
    return VAE(
        MLPEncoder(features, latent, hidden=(), covariance=covariance),
        GaussianDecoder(latent, features, hidden=(), variance="shared"),
        latent,
    )
