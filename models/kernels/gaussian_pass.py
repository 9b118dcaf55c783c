"""The E-step of Gaussian components in torch: log densities and sums of statistics by two matrix products.

For a row y = x - centre let T(y) = (1, y, S(y)), with S(y) its second-order products. Then log N(x; mean_k, Sigma_k) =
coefficients_k . T(y) is one matrix product for all components and rows of a block, and the M-step's sums are a second
one, of the responsibilities with the same T. Arrays are feature-major, (s, n), so that products run along memory.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from ...data.traced_rows import plain_rows
from .covariance_shapes import Shape
from .gaussian_parameters import can_compile_parameters, shifted
from .linear_pass import ColumnPairs, CompiledLinearPass

# Raw second moments lose digits: of a component whose mean is r standard deviations from the centre they lose about
# r^2 * 2e-16 of its variance. Below this r^2 that is less than 1e-11.
FAR = 1e5
FLOAT32_TERMS = 1 << 11  # terms of a sum in float32
FAR_FLOAT32 = 1e3  # r^2 in float32: an error of 1e-4 nats in one log density, far less in the mean of many


class GaussianPass:
    """Computes the log densities of a block of rows, and sums their statistics T(x - origin).

    A component that is too far from the common centre, or too thin beside the data, would lose digits in raw moments.
    Such components (`far`) are computed one by one in float64 with triangular solves.

    Attributes of the constructor:
        shape: the shape of the covariances.
        origin: (k, d), about which each component's sums are taken.
        offset: (k, d), each mean minus its origin.
        unit: (d,), the standard deviations of the data.
        scales: of each component, as `shape` has them.
        tied: how many components in turn share one covariance; 0 if each has its own.
        dtype: the precision to compute in.
    """

    def __init__(
        self,
        shape: Shape,
        origin: Tensor,
        offset: Tensor,
        unit: Tensor,
        scales: Tensor,
        tied: int = 0,
        dtype: torch.dtype = torch.float64,
    ):
        self.shape, self.origin, self.offset, self.scales, self.tied = shape, origin, offset, scales, tied
        k, d = origin.shape
        self.centre = (origin + offset).mean(0)
        mean = origin - self.centre + offset
        # rounding errors grow with the squared size of the data and of both shifts, in each component's widths
        shifts = torch.stack([mean, origin - self.centre], -1)
        columns = squared_lengths(shape, scales, torch.cat([torch.diag(unit).expand(k, d, d), shifts], -1))
        size = torch.maximum(columns[:, :d].sum(1), columns[:, d:].amax(1))
        near, self.to_origin, squared = size < max_squared_distance(dtype), origin - self.centre, columns[:, d]
        self.near, self.far = slice(None), []
        if not near.all():
            self.near, self.far = near.nonzero().squeeze(-1), (~near).nonzero().squeeze(-1).tolist()
            mean, scales, self.to_origin = mean[self.near], scales[self.near], self.to_origin[self.near]
            squared = squared[self.near]
        log_det = shape.log_det(scales, d)
        at_centre = -0.5 * (d * math.log(2 * math.pi) + log_det + squared)  # log densities at the centre
        coefficients = [at_centre.unsqueeze(-1), *(-0.5 * part for part in shape.coefficients(scales, mean))]
        self.coefficients = torch.cat(coefficients, -1)  # (near, 1 + s)
        self.dtype = dtype

    @classmethod
    def of_coefficients(
        cls, shape: Shape, centre: Tensor, to_origin: Tensor, coefficients: Tensor, tied: int, dtype: torch.dtype
    ) -> GaussianPass:
        """The pass of components that are all near the centre, from what `gaussian_parameters.coefficients` returns."""
        self = cls.__new__(cls)
        self.shape, self.tied, self.dtype, self.near, self.far = shape, tied, dtype, slice(None), []
        self.centre, self.to_origin, self.coefficients = centre, to_origin, coefficients
        return self

    def __call__(self, x: Float[Tensor, "n d"]):
        """The log densities of a block of rows (n, d), and the function that sums its statistics.

        Returns:
            log_prob (n, k), and a function from responsibilities (n, k) to sums (k, s).
        """
        y = (x.T - self.centre[:, None]).to(self.dtype)
        t = torch.cat([torch.ones_like(y[:1]), y, self.shape.products(y)])
        log_prob = self.coefficients.to(t) @ t  # (near, n)
        if self.far:
            full = x.new_empty(len(self.origin), len(x))
            full[self.near] = log_prob.to(x)
            for j in self.far:
                y = x.T - self.origin[j, :, None] - self.offset[j, :, None]
                full[j] = log_density(self.shape, self.scales[j], y)
            log_prob = full
        return log_prob.T, lambda responsibilities: self._summarize(x, t, responsibilities.T)

    def _summarize(
        self, x: Float[Tensor, "n d"], t: Float[Tensor, "c n"], r: Float[Tensor, "k n"]
    ) -> Float[Tensor, "k s"]:
        sums = sum_products(r[self.near].to(t), t)
        near = shift_sums(self.shape, sums[:, 0], sums[:, 1:], self.to_origin)
        if not self.far:
            return near
        total = x.new_zeros(len(r), near.shape[1])
        total[self.near] = near
        for j in self.far:
            total[j] = sum_statistics(self.shape, x.T - self.origin[j, :, None], r[j].to(x))
        return total

    def linear(self) -> CompiledLinearPass:
        """The same pass in compiled code, if no component is far.

        If components share a covariance, the part of a log density that is quadratic in a row is the same for all of
        them. Its sum over all rows is enough for the M-step: each component is given an equal part.
        """
        k, d = self.to_origin.shape
        pairs = _pairs(self.shape, d, self.tied > 0)
        # |y|^2 enters as d squares with the same coefficient
        linear, second = self.coefficients[:, : 1 + d], self.coefficients[:, 1 + d :]
        quadratic = second.expand(k, len(self.shape.pairs(d)[0]))
        if self.tied:
            return CompiledLinearPass(
                self.centre, pairs, linear.to(self.dtype),
                lambda total, common: self._collected(total, common.unsqueeze(0), 1 / self.tied),
                quadratic[:: self.tied],
            )  # fmt: skip
        return CompiledLinearPass(
            self.centre, pairs, torch.cat([linear, quadratic], -1).to(self.dtype),
            lambda total, _: self._collected(total[:, : 1 + d], total[:, 1 + d :], 1.0),
        )  # fmt: skip

    def _collected(self, first: Float[Tensor, "k c"], second: Float[Tensor, "g q"], share: float) -> Tensor:
        """Sums about the centre, `second` those of products of two columns, as statistics (k, s) about the origins."""
        if can_compile_parameters(self.to_origin):
            return shifted(self.shape, first, second, share, self.to_origin)
        # |y|^2 is one statistic of d squares
        second = second.unflatten(-1, (self.shape.size(self.to_origin.shape[1]), -1)).sum(-1)
        second = (share * second).expand(len(first), -1)
        return shift_sums(self.shape, first[:, 0], torch.cat([first[:, 1:], second], -1), self.to_origin)


@lru_cache(maxsize=64)
def _pairs(shape: Shape, d: int, tied: bool) -> ColumnPairs:
    """1, the columns, and the products of columns that `shape` sums; the products are shared if components are tied."""
    left, right = ([1 + column for column in side] for side in shape.pairs(d))
    zeros, first = [0] * (1 + d), list(range(1 + d))
    return ColumnPairs.of((zeros, first), (left, right)) if tied else ColumnPairs.of((zeros + left, first + right))


def sum_products(r: Float[Tensor, "k n"], t: Float[Tensor, "c n"]) -> Float[Tensor, "k c"]:
    """r @ t.T in float64; float32 is added in short sums, which keep its digits."""
    if r.dtype == torch.float64:
        return r @ t.T
    full = r.shape[1] // FLOAT32_TERMS * FLOAT32_TERMS
    own, of = (part[:, :full].unflatten(1, (-1, FLOAT32_TERMS)).transpose(0, 1) for part in (r, t))
    return torch.bmm(own, of.mT).sum(0, dtype=torch.float64) + r[:, full:] @ t[:, full:].T


def max_squared_distance(dtype: torch.dtype) -> float:
    """The squared distance from the centre up to which raw moments keep enough digits."""
    return FAR if dtype == torch.float64 else FAR_FLOAT32


def squared_lengths(shape: Shape, scales: Tensor, y: Tensor) -> Tensor:
    """Squared Mahalanobis lengths (..., m) of the columns of y (..., d, m) under each component."""
    return shape.whiten(scales, y).square().sum(-2)


def log_density(shape: Shape, scales: Tensor, y: Tensor) -> Tensor:
    """log N(y; 0, Sigma) (..., n) in nats of centred rows y (..., d, n) under scales (...)."""
    d = y.shape[-2]
    squared = shape.whiten(scales, y).square().sum(-2)
    if plain_rows(squared).isnan().any():  # of finite rows: whitening has subtracted infinities
        squared = torch.where(squared.isnan() & y.isfinite().all(-2), torch.inf, squared)
    return -0.5 * (d * math.log(2 * math.pi) + shape.log_det(scales, d).unsqueeze(-1) + squared)


def log_distance(shape: Shape, scales: Tensor, y: Tensor) -> Tensor:
    """log of the Mahalanobis distance (..., n) of centred rows y (..., d, n), also where its square overflows."""
    largest = y.abs().amax(-2, keepdim=True).clamp(min=torch.finfo(y.dtype).tiny)
    return largest.squeeze(-2).log() + 0.5 * shape.whiten(scales, y / largest).square().sum(-2).log()


def sum_statistics(shape: Shape, y: Float[Tensor, "*k d n"], weight: Float[Tensor, "*k n"]) -> Float[Tensor, "*k s"]:
    """Weighted sums over rows of (y, S(y)), without forming S(y)."""
    return torch.cat([(y @ weight.unsqueeze(-1)).squeeze(-1), shape.gram(y, weight)], -1)


def shift_sums(shape: Shape, weight: Tensor, total: Tensor, by: Tensor) -> Tensor:
    """Turn sums (k, s) of (y, S(y)), of total weight (k,), into sums of the same statistics of y - by, by (k, d)."""
    d = by.shape[-1]
    first, second = total.split([d, shape.size(d)], -1)
    w = weight.unsqueeze(-1)
    return torch.cat([first - w * by, second - 2 * shape.product(first, by) + w * shape.product(by, by)], -1)
