"""The inverse-Wishart distribution: the conjugate prior of the covariance matrix of a Gaussian."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from .covariance_constraint import covariances


class InverseWishart(TorchDistribution):
    """p(Sigma) proportional to |Sigma|^(-(df + d + 1) / 2) exp(-tr(scale inv(Sigma)) / 2); mean scale / (df - d - 1).

    inv(Sigma) is then Wishart(df, inv(scale)). Gelman et al., Bayesian Data Analysis, appendix A.

    Args:
        df: (...), degrees of freedom, above d - 1.
        scale_tril: (..., d, d), the Cholesky factor of the scale matrix.
        validate_args: Whether arguments and values are checked, as in torch.

    Raises:
        ValueError: df is d - 1 or less.
    """

    arg_constraints = {  # type: ignore[reportIncompatibleMethodOverride,reportAssignmentType]  # noqa: RUF012
        "df": constraints.positive,
        "scale_tril": constraints.lower_cholesky,
    }
    has_rsample = True
    support = covariances  # type: ignore[assignment]

    def __init__(self, df: Any, scale_tril: Tensor, validate_args: bool | None = None):
        df = torch.as_tensor(df, dtype=scale_tril.dtype)
        d = scale_tril.shape[-1]
        batch = torch.broadcast_shapes(df.shape, scale_tril.shape[:-2])
        self.df = df.expand(batch)
        self.scale_tril = scale_tril.expand(*batch, d, d)
        super().__init__(batch, torch.Size([d, d]), validate_args=validate_args)
        if self._validate_args and not (self.df > d - 1).all():
            raise ValueError(f"df is {self.df.tolist()}, expected more than {d - 1} for {d} by {d} matrices")

    @property
    def mean(self) -> Tensor:  # type: ignore[override]
        """scale / (df - d - 1), infinite for df <= d + 1."""
        above = self.df - self.event_shape[0] - 1
        mean = self.scale_tril @ self.scale_tril.mT / above.clamp(min=1e-300)[..., None, None]
        return torch.where((above > 0)[..., None, None], mean, torch.inf)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 (torch's signature)
        """T inv(A)' inv(A) T', with T T' the scale matrix and A A' ~ Wishart(df, I) by Bartlett's decomposition."""
        d = self.event_shape[0]
        shape = self._extended_shape(sample_shape)
        i = torch.arange(d, dtype=self.df.dtype, device=self.df.device)
        squares = torch.distributions.Chi2(self.df.unsqueeze(-1) - i).rsample(sample_shape)
        bartlett = torch.randn(shape, dtype=self.df.dtype, device=self.df.device).tril(-1) + torch.diag_embed(
            squares.sqrt()
        )
        half = torch.linalg.solve_triangular(bartlett, self.scale_tril.mT.expand(shape), upper=False)
        return half.mT @ half

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density in nats at matrices (..., d, d)."""
        if self._validate_args:
            self._validate_sample(value)
        d, df = self.event_shape[0], self.df
        factor = torch.linalg.cholesky(value)
        half = torch.linalg.solve_triangular(factor, self.scale_tril, upper=False)
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_scale = 2 * self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * df * (log_scale - d * math.log(2)) - torch.mvlgamma(0.5 * df, d)
        return constant - 0.5 * (df + d + 1) * log_det - 0.5 * half.square().sum((-2, -1))

    def expand(self, batch_shape: Any, _instance: Any = None) -> InverseWishart:
        """The same with more batch dimensions."""
        batch = torch.Size(batch_shape)
        return InverseWishart(
            self.df.expand(batch), self.scale_tril.expand(*batch, *self.event_shape), validate_args=False
        )


def digammas(half_df: Tensor, d: int) -> Tensor:
    """The derivative of log Gamma_d: sum_i digamma(half_df - i / 2), i = 0 .. d - 1."""
    return torch.digamma(half_df.unsqueeze(-1) - 0.5 * torch.arange(d, dtype=half_df.dtype, device=half_df.device)).sum(
        -1
    )
