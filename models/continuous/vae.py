"""The variational autoencoder: any decoder for p(x | z), any encoder for q(z | x)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from ...data.traced_rows import plain_rows
from ..module import on_the_cpu, require_size
from ..random_state import fixed_seed, gpus
from .continuous_latent import ContinuousLatent
from .decoder_support import fixed_support, require_supported
from .distribution_views import parameters_of, rebuilt
from .encoders import MLPEncoder
from .gaussian_decoder import GaussianDecoder
from .linear_gaussian import LinearGaussian
from .networks import Network, Resettable, evaluation_mode
from .vae_checks import call_part, require_precision


class VAE(ContinuousLatent):
    """The variational autoencoder: z ~ N(0, I), x | z ~ decoder(z), with the guide z ~ encoder(x).

    The bound of a row is E_q[log p(x | z)] - KL(q(z | x) || N(0, I)) in nats, summed over its columns. Precision and
    device are those of the parameters: float32 on the CPU, unless you call model.double() or model.to("cuda"). The
    ready-made parts measure in the units of the data. Your own modules get z and rows unchanged: standardize the
    columns, or learn units in `Network.set_units`.

    Args:
        encoder: A module from rows (n, d) to a distribution with batch shape (n,) and event shape (latent,), such as
            `MLPEncoder` or `ConvEncoder`.
        decoder: A module from z (n, latent) to a distribution with batch shape (n,) and event shape (d,), such as
            `GaussianDecoder`, `BernoulliDecoder`, `ContinuousBernoulliDecoder` or `CategoricalDecoder`. Both return
            distributions of `pyro.distributions`.
        latent: q, the number of latent dimensions, at most d.

    Raises:
        TypeError: encoder or decoder is not a torch.nn.Module, or does not return a distribution of
            `pyro.distributions`.
        ValueError: Shapes do not fit each other, or latent is larger than d.

    Example:
        >>> from lowerbound.datasets import load
        >>> from lowerbound.inference import SVI, fit
        >>> from lowerbound.models import VAE, GaussianDecoder, MLPEncoder
        >>> model = VAE(MLPEncoder(2, 1, hidden=(8,)), GaussianDecoder(1, 2, hidden=(8,)), latent=1)
        >>> result = fit(model, load("faithful"), SVI("analytic"), max_passes=3)
        >>> result.model.bound(load("faithful")).shape
        torch.Size([272])

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
        # two rows, because batch normalization needs more than one; nothing is learned from them
        with torch.no_grad(), evaluation_mode(self):
            given = call_part("decoder", decoder, own.new_zeros(2, latent), latent, None, None)
            other = decoder(own.new_ones(2, latent))
            self.features = given.event_shape[0]
            call_part("encoder", encoder, own.new_zeros(2, self.features), latent, self.features, (latent,))
        if latent > self.features:
            raise ValueError(
                f"latent is {latent} for {self.features} features, expected at most as many: z must not have more "
                "dimensions than the rows that it explains"
            )
        self._support = fixed_support(given, other)
        self.register_buffer("anchored", torch.zeros((), dtype=torch.bool))

    @property
    def is_set(self) -> bool:
        """Whether a fit, `seed` or a file has set the weights and the units of the data."""
        return bool(self.anchored)

    @property
    def numeric_columns(self) -> range:
        """All columns, if the decoder gives numbers."""
        return range(self.features if isinstance(self.decoder, Network) and self.decoder.is_numeric else 0)

    @property
    def learning_rate(self) -> float:
        """Adam's first step that suits the model: 0.05 if encoder and decoder are linear, else 0.001."""
        linear_encoder = isinstance(self.encoder, Network) and self.encoder.is_linear
        return 5e-2 if linear_encoder and self.linear() is not None else 1e-3

    def decode(self, z: Float[Tensor, "*s q"]) -> Distribution:
        """p(x | z), as the decoder returns it.

        A decoder that is not a `Network` is called with z of shape (n, latent), as layers for pictures and batch
        normalization expect it, and its result is given the shape of z.
        """
        if isinstance(self.decoder, Network) or z.ndim == 2:
            return self.decoder(z)
        flat = self.decoder(z.reshape(-1, self.latent))
        shaped = {name: value.unflatten(0, z.shape[:-1]) for name, value in parameters_of(flat).items()}
        return rebuilt(flat, shaped)

    def encode(self, x: Float[Tensor, "n d"]) -> Distribution:
        """q(z | x), as the encoder returns it."""
        return self.encoder(x)

    def evidence(self, x: Any) -> Float[Tensor, " n"] | None:
        """log p(x) of each row (n,) in float64 if the decoder has a closed form (`linear`); else None."""
        linear = self.linear()
        if linear is None:
            return None
        with torch.no_grad():
            return linear.log_evidence(self.checked(x).double() - linear.loc)

    def linear(self) -> LinearGaussian | None:
        """The `LinearGaussian` that the decoder stands for, without gradients; None if there is none."""
        with torch.no_grad():
            return self.decoder.linear() if isinstance(self.decoder, Network) else None

    @on_the_cpu
    @torch.no_grad()
    def initialize(self, x: Any, weights: Any, generator: torch.Generator, redraw: bool = True) -> None:
        """Learn the names of the columns and, at the first fit, the units of the data; then draw new weights.

        Args:
            x: The table, as `fit` takes it.
            weights: Row weights (n,), or None.
            generator: The source of random numbers.
            redraw: True draws new weights for every layer with `reset_parameters`, but keeps frozen ones. False keeps
                all.

        Raises:
            ValueError: The decoder cannot give some value, or float32 has too few digits for a column.
        """
        rows = self._learn_table(x, weights)
        spread = rows.spread  # first, because it says which value is not a number
        for chunk in rows.chunks():
            self._require_supported(chunk.x, rows.columns, chunk.row_numbers)
        require_precision(spread, next(self.parameters(), torch.zeros(())).dtype)
        if self.anchored and not redraw:
            return
        frozen = [
            (parameter, parameter.detach().clone()) for parameter in self.parameters() if not parameter.requires_grad
        ]
        if redraw:
            with fixed_seed(int(torch.randint(2**62, (), generator=generator)), gpus(self)):
                for part in self.modules():
                    if isinstance(part, Resettable):
                        part.reset_parameters()
            for parameter, value in frozen:
                parameter.data = value
        for part in (self.encoder, self.decoder):
            frozen_part = self.anchored and not any(parameter.requires_grad for parameter in part.parameters())
            if isinstance(part, Network) and not frozen_part:
                part.set_units(spread)
        self.anchored = torch.ones_like(self.anchored)

    def check(self) -> None:
        """Raise `Collapse` if the decoder has run into a singularity of its likelihood."""
        if isinstance(self.decoder, Network):
            self.decoder.check()

    def free_parameters(self) -> int:
        """The free parameters of the decoder. The encoder is not part of p(x).

        A decoder with a closed form has q (q - 1) / 2 fewer, the rotations of z.
        """
        count = sum(parameter.numel() for parameter in self.decoder.parameters() if parameter.requires_grad)
        turns = self.latent * (self.latent - 1) // 2 if count and self.linear() is not None else 0
        return count - turns

    # inside

    def _largest(self, dtype: torch.dtype) -> float:
        """The largest value whose square is a number."""
        return torch.finfo(dtype).max ** 0.5

    def _require_supported(
        self, x: Float[Tensor, "n d"], columns: Sequence[Any] | None, numbers: Tensor | range | None = None
    ) -> None:
        """Raise ValueError if x holds what the decoder cannot give; numbers: of the rows."""
        x = plain_rows(x)
        more = self.decoder.outside(x) if isinstance(self.decoder, Network) else None
        require_supported(self._support, more, x, columns, numbers)


def linear_vae(features: int, latent: int, covariance: str = "diag") -> VAE:
    """The VAE whose optimum is probabilistic PCA: linear encoder and decoder, one noise variance for all columns.

    Args:
        features: d, the number of columns.
        latent: q, the number of latent dimensions, at most d.
        covariance: The covariance of q(z | x), "diag" or "full".

    Returns:
        A `VAE` of `MLPEncoder` and `GaussianDecoder` without hidden layers.

    Raises:
        ValueError: A size is not a whole number of at least 1, or covariance is another word.

    Example:
        >>> from lowerbound.models import linear_vae
        >>> linear_vae(4, 2).free_parameters()  # loadings 8, means 4, scale 1, less 1 rotation
        12

    Lucas, Tucker, Grosse & Norouzi, "Don't blame the ELBO!", NeurIPS 2019.
    """
    return VAE(
        MLPEncoder(features, latent, hidden=(), covariance=covariance),
        GaussianDecoder(latent, features, hidden=(), variance="shared"),
        latent,
    )
