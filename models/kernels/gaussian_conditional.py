"""Gaussians of rows with missing values: the density of the observed ones, and the distribution of the others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..contract import Collapse
from .covariance_shapes import Shape
from .full_covariance import Full
from .gaussian_pass import sum_statistics

CELLS = 1 << 20  # numbers of an intermediate result in memory, 8 MiB


class ConditionalGaussian:
    """k Gaussians given the observed values of rows y (n, k, d), which are centred at the means and NaN where missing.

    `squared` and `log_prob` are differentiable in means and scales.

    Attributes:
        observed: (n, 1), how many values of each row are observed.
        squared: (n, k), squared Mahalanobis distances of the observed values.
        log_det: (n, k), log determinants of the covariances of the observed values.
        log_prob: (n, k), log densities of the observed values in nats.
    """

    def __init__(self, shape: Shape, scales: Tensor, y: Float[Tensor, "n k d"]):
        self.shape = shape
        _, k, d = y.shape
        size = max(1, CELLS // (k * d ** max(1, shape.scale_dims)))
        self.parts = [condition(shape, scales, part) for part in y.split(size)]
        self.observed = (~y[:, :1].isnan()).sum(-1).to(y.dtype)
        self.squared = torch.cat([part.squared for part in self.parts])
        self.log_det = torch.cat([part.log_det for part in self.parts])
        self.log_prob = -0.5 * (self.observed * math.log(2 * math.pi) + self.log_det + self.squared)

    @property
    def mean(self) -> Float[Tensor, "n k d"]:
        """The rows, minus the means of the components, with missing values at their conditional means."""
        return torch.cat([part.mean for part in self.parts])

    @property
    def variance(self) -> Float[Tensor, "n k d"]:
        """Conditional variances of the missing values; 0 for observed ones."""
        return torch.cat([part.variance for part in self.parts])

    def expected_sums(
        self, offset: Float[Tensor, "k d"], r: Float[Tensor, "n k"], spread: Tensor
    ) -> Float[Tensor, "k s"]:
        """Sums over rows, weighted by r (n, k), of E[T(y + offset) | observed values].

        The conditional covariances are weighted by `spread` (n, k) instead.
        """
        total, start = r.new_zeros(()), 0
        for part in self.parts:
            rows = slice(start, start + len(part.mean))
            y = part.mean + offset  # (n, k, d)
            first = sum_statistics(self.shape, y.permute(1, 2, 0), r[rows].T)
            share = first.new_zeros(part.covariance.shape[:2]).index_add_(0, part.pattern, spread[rows])
            first[:, offset.shape[1] :] += torch.einsum("pk,pks->ks", share, part.covariance)
            total, start = total + first, rows.stop
        return total


@dataclass(frozen=True)
class ConditionalMoments:
    """Conditional moments of some rows. Rows that miss the same columns share one conditional covariance.

    `covariance` (p, k, s) is packed, one for each pattern of missing columns; `pattern` (n,) is the pattern of each
    row.
    """

    squared: Float[Tensor, "n k"]
    log_det: Float[Tensor, "n k"]  # of the covariance of the observed values
    mean: Float[Tensor, "n k d"]
    variance: Float[Tensor, "n k d"]
    covariance: Float[Tensor, "p k s"]
    pattern: Int[Tensor, " n"]


def condition(shape: Shape, scales: Tensor, y: Float[Tensor, "n k d"]) -> ConditionalMoments:
    """`ConditionalMoments` of centred rows y (n, k, d), NaN where missing; differentiable in scales.

    For a Gaussian with covariance blocks S of observed (o) and missing (m) columns, the missing values given the
    observed ones have mean S_mo inv(S_oo) y_o and covariance S_mm - S_mo inv(S_oo) S_om.
    """
    absent = y[:, 0].isnan()
    y = torch.where(absent.unsqueeze(1), 0.0, y)  # first, because NaN would spoil the gradients of the observed values
    if shape.scale_dims == 2:
        return _correlated(scales, y, absent)
    n, k, d = y.shape
    deviation = scales.reshape(k, -1).expand(k, d)
    missing = absent.to(y.dtype)
    variance = missing.unsqueeze(1) * deviation.detach() ** 2
    return ConditionalMoments(
        squared=(y / deviation).square().sum(-1),
        log_det=(1 - missing) @ (2 * deviation.log()).T,
        mean=y,
        variance=variance,
        covariance=variance if shape.size(d) == d else variance.sum(-1, keepdim=True),
        pattern=torch.arange(n, device=y.device),
    )


def _correlated(
    scales: Float[Tensor, "k d d"], y: Float[Tensor, "n k d"], absent: Bool[Tensor, "n d"]
) -> ConditionalMoments:
    """`condition` for full covariances.

    Columns are divided by their standard deviations, so that different units do not cost digits. A missing column is a
    unit vector in the matrix of the observed ones, so that all patterns go through one batched Cholesky factorization.
    """
    covariance = scales @ scales.mT
    width = covariance.diagonal(dim1=-2, dim2=-1).sqrt()  # (k, d)
    correlation = covariance / (width.unsqueeze(-1) * width.unsqueeze(-2))
    patterns, pattern = absent.unique(dim=0, return_inverse=True)
    missing = patterns.to(y.dtype)[:, None, :, None]  # (p, 1, d, 1)
    observed = 1 - missing
    factor, info = torch.linalg.cholesky_ex(observed * correlation * observed.mT + torch.diag_embed(missing[..., 0]))
    if info.any():  # (p, k), of factors (p, k, d, d)
        component = int(info.nonzero()[0, 1])
        raise Collapse(f"the covariance of component {component} is singular to rounding", component)
    with torch.no_grad():
        half = torch.linalg.solve_triangular(factor, observed * correlation * missing.mT, upper=False)
        remaining = missing * missing.mT * correlation - half.mT @ half
        remaining = remaining * (width.unsqueeze(-1) * width.unsqueeze(-2))
    log_det = 2 * (factor.diagonal(dim1=-2, dim2=-1).log() + observed[..., 0] * width.log()).sum(-1)  # (p, k)
    y = y / width
    squared, mean, order = [], torch.empty_like(y), []
    for which, rows in _batches_of_patterns(pattern):
        real = rows >= 0
        z = y[rows.clamp(min=0)].permute(0, 2, 3, 1)  # (g, k, d, m)
        white = torch.linalg.solve_triangular(factor[which], z, upper=False)
        squared.append(white.square().sum(-2).mT[real])
        order.append(rows[real])
        with torch.no_grad():
            fill = missing[which] * (half[which].mT @ white)
            mean[rows[real]] = (z + fill).permute(0, 3, 1, 2)[real] * width
    return ConditionalMoments(
        squared=torch.cat(squared)[torch.cat(order).argsort()],
        log_det=log_det[pattern],
        mean=mean,
        variance=remaining.diagonal(dim1=-2, dim2=-1).clamp(min=0)[pattern],
        covariance=Full.pack(remaining),
        pattern=pattern,
    )


def _batches_of_patterns(pattern: Int[Tensor, " n"]) -> Iterator[tuple[Int[Tensor, " g"], Int[Tensor, "g m"]]]:
    """Batches of patterns with about as many rows each: their numbers (g,), and the numbers of their rows (g, m).

    Rows are padded with -1 to the longest of the batch. Many small and few large patterns then cost about the same, as
    batched matrix products.
    """
    order = pattern.argsort(stable=True)
    counts = pattern.bincount()
    first = counts.cumsum(0) - counts
    width = 2 ** counts.double().log2().ceil().long()
    for m in width.unique().tolist():
        which = (width == m).nonzero().squeeze(1)
        at = torch.arange(m, device=which.device).expand(len(which), m)
        inside = at < counts[which, None]
        place = (first[which, None] + at).clamp(max=len(order) - 1)
        yield which, torch.where(inside, order[place], -1)
