"""Gaussians of which only some columns are seen: the distribution of those, and of the rest given them."""

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
from .fused_pass import moments

CELLS = 1 << 20  # numbers of one intermediate result that are held at a time, 8 MiB


class Given:
    """k Gaussians with covariances of this shape given the seen cells of rows y (n, k, d), NaN where missing, centred
    at the means. `squared` and `log_prob` are differentiable in means and scales.

    seen (n, 1): how many cells are seen; squared (n, k): squared Mahalanobis distances of the seen cells; log_prob
    (n, k): their log density in nats; mean (n, k, d): the rows with each missing cell at its conditional mean;
    variance (n, k, d): conditional variances, 0 where seen.
    """

    def __init__(self, shape: Shape, scales: Tensor, y: Float[Tensor, "n k d"]):
        self.shape = shape
        _, k, d = y.shape
        size = max(1, CELLS // (k * d ** max(1, shape.scale_dims)))
        self.parts = [condition(shape, scales, part) for part in y.split(size)]
        self.seen = (~y[:, :1].isnan()).sum(-1).to(y.dtype)
        self.squared = torch.cat([part.squared for part in self.parts])
        log_det = torch.cat([part.log_det for part in self.parts])
        self.log_prob = -0.5 * (self.seen * math.log(2 * math.pi) + log_det + self.squared)

    @property
    def mean(self) -> Float[Tensor, "n k d"]:
        """The rows with each missing cell at its conditional mean, measured from the means."""
        return torch.cat([part.mean for part in self.parts])

    @property
    def variance(self) -> Float[Tensor, "n k d"]:
        """Conditional variances, 0 where seen."""
        return torch.cat([part.variance for part in self.parts])

    def sums(self, offset: Float[Tensor, "k d"], r: Float[Tensor, "n k"], spread: Tensor) -> Float[Tensor, "k s"]:
        """Sums over rows, shared out by r, of E[T(y + offset) | seen cells], where the conditional covariances count by
        `spread` (n, k)."""
        total, start = r.new_zeros(()), 0
        for part in self.parts:
            rows = slice(start, start + len(part.mean))
            y = part.mean + offset  # (n, k, d)
            first = moments(self.shape, y.permute(1, 2, 0), r[rows].T)
            share = first.new_zeros(part.covariance.shape[:2]).index_add_(0, part.pattern, spread[rows])
            first[:, offset.shape[1] :] += torch.einsum("pk,pks->ks", share, part.covariance)
            total, start = total + first, rows.stop
        return total


@dataclass(frozen=True)
class Conditional:
    """Some rows of a `Given`. Rows that miss the same cells have one conditional covariance: `covariance` (p, k, s),
    packed, for each such pattern, and `pattern` (n,) says which is whose."""

    squared: Float[Tensor, "n k"]
    log_det: Float[Tensor, "n k"]  # of the covariance of the seen cells
    mean: Float[Tensor, "n k d"]
    variance: Float[Tensor, "n k d"]
    covariance: Float[Tensor, "p k s"]
    pattern: Int[Tensor, " n"]


def condition(shape: Shape, scales: Tensor, y: Float[Tensor, "n k d"]) -> Conditional:
    """`Conditional` of centred rows y, NaN where missing, under covariances of this shape; differentiable in scales.

    Of a Gaussian with covariance blocks S of seen (o) and missing (m) columns: given the seen, the missing have mean
    S_mo inv(S_oo) y_o and covariance S_mm - S_mo inv(S_oo) S_om.
    """
    gone = y[:, 0].isnan()
    y = torch.where(gone.unsqueeze(1), 0.0, y)  # before all else: NaN would spoil the gradient of the cells beside it
    if shape.scale_dims == 2:
        return _correlated(scales, y, gone)
    n, k, d = y.shape
    deviation = scales.reshape(k, -1).expand(k, d)
    missing = gone.to(y.dtype)
    variance = missing.unsqueeze(1) * deviation.detach() ** 2
    return Conditional(
        squared=(y / deviation).square().sum(-1),
        log_det=(1 - missing) @ (2 * deviation.log()).T,
        mean=y,
        variance=variance,
        covariance=variance if shape.size(d) == d else variance.sum(-1, keepdim=True),
        pattern=torch.arange(n, device=y.device),
    )


def _correlated(scales: Float[Tensor, "k d d"], y: Float[Tensor, "n k d"], gone: Bool[Tensor, "n d"]) -> Conditional:
    """In units of the standard deviations, so that columns of very different units do not cost digits. A missing column
    is a unit vector in the matrix of the seen ones, so that all patterns go through one Cholesky factorization."""
    covariance = scales @ scales.mT
    width = covariance.diagonal(dim1=-2, dim2=-1).sqrt()  # (k, d)
    correlation = covariance / (width.unsqueeze(-1) * width.unsqueeze(-2))
    patterns, pattern = gone.unique(dim=0, return_inverse=True)
    missing = patterns.to(y.dtype)[:, None, :, None]  # (p, 1, d, 1)
    seen = 1 - missing
    factor, info = torch.linalg.cholesky_ex(seen * correlation * seen.mT + torch.diag_embed(missing[..., 0]))
    if info.any():  # (p, k), of factors (p, k, d, d)
        component = int(info.nonzero()[0, 1])
        raise Collapse(f"the covariance of component {component} is singular to rounding", component)
    with torch.no_grad():
        half = torch.linalg.solve_triangular(factor, seen * correlation * missing.mT, upper=False)
        spare = missing * missing.mT * correlation - half.mT @ half
        spare = spare * (width.unsqueeze(-1) * width.unsqueeze(-2))
    log_det = 2 * (factor.diagonal(dim1=-2, dim2=-1).log() + seen[..., 0] * width.log()).sum(-1)  # (p, k)
    y = y / width
    squared, mean, order = [], torch.empty_like(y), []
    for which, rows in _alike(pattern):
        real = rows >= 0
        z = y[rows.clamp(min=0)].permute(0, 2, 3, 1)  # (g, k, d, m)
        white = torch.linalg.solve_triangular(factor[which], z, upper=False)
        squared.append(white.square().sum(-2).mT[real])
        order.append(rows[real])
        with torch.no_grad():
            fill = missing[which] * (half[which].mT @ white)
            mean[rows[real]] = (z + fill).permute(0, 3, 1, 2)[real] * width
    return Conditional(
        squared=torch.cat(squared)[torch.cat(order).argsort()],
        log_det=log_det[pattern],
        mean=mean,
        variance=spare.diagonal(dim1=-2, dim2=-1).clamp(min=0)[pattern],
        covariance=Full.pack(spare),
        pattern=pattern,
    )


def _alike(pattern: Int[Tensor, " n"]) -> Iterator[tuple[Int[Tensor, " g"], Int[Tensor, "g m"]]]:
    """Rows by pattern, patterns of about as many rows together: their numbers (g,), and those of their rows (g, m), -1
    beyond a pattern's own. Few and many patterns then cost about the same, as matrix products in batches."""
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
