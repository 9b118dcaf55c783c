"""The fused pass of Gaussian components: the log densities and the sums of EM from one look at each row.

With T(y) = (1, y, S(y)), of a row and its second-order products, log N(x; mean_k, Sigma_k) = coefficients_k .
T(x - centre) is one matrix product for all components and rows of a block, and the M-step's sums are a second one, of
the responsibilities with the same T. Everything is feature-major, (s, n), so that it runs along memory.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from .covariance_shapes import Shape
from .linear_pass import Linear, Pairs

# Raw second moments cancel: with a component `distance` widths from where they are taken, they lose about
# distance^2 * 2e-16 of its variance. Below this squared distance that is under 1e-11.
FAR = 1e5
SUMMED = 1 << 11  # terms added up in float32
FAR_SINGLE = 1e3  # in float32: that leaves 1e-4 nats of a log density, and of the mean of many far less


class FusedPass:
    """Blocks of rows (n, d) to their log densities (n, k), and a function that sums their T(x - centre); and the same
    as a `Linear` pass.

    origin, offset: (k, d), where each component's sums are to be taken and how far its mean is from there; unit: (d,)
    the spread of the data; scales: of each component; tied: of so many components in turn one covariance, 0 if each has
    its own; dtype: to compute in. Components that are too far from the common centre, or too thin beside the data, for
    raw moments to keep their digits are done one by one by triangular solves, in float64: those of the numbers `far`.
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
        # what rounding is scaled by: the squared size of the data and of both shifts, in widths of each component
        shifts = torch.stack([mean, origin - self.centre], -1)
        columns = squared_sizes(shape, scales, torch.cat([torch.diag(unit).expand(k, d, d), shifts], -1))
        size = torch.maximum(columns[:, :d].sum(1), columns[:, d:].amax(1))
        near, self.to_origin, squared = size < reach(dtype), origin - self.centre, columns[:, d]
        self.near, self.far = slice(None), []
        if not near.all():
            self.near, self.far = near.nonzero().squeeze(-1), (~near).nonzero().squeeze(-1).tolist()
            mean, scales, self.to_origin = mean[self.near], scales[self.near], self.to_origin[self.near]
            squared = squared[self.near]
        at_centre = -0.5 * (d * math.log(2 * math.pi) + shape.log_det(scales, d) + squared)  # log densities there
        coefficients = [at_centre.unsqueeze(-1), *(-0.5 * part for part in shape.coefficients(scales, mean))]
        self.coefficients = torch.cat(coefficients, -1)  # (near, 1 + s)
        self.dtype = dtype

    def __call__(self, x: Float[Tensor, "n d"]):
        """log_prob (n, k) and `summarize`."""
        y = (x.T - self.centre[:, None]).to(self.dtype)
        t = torch.cat([torch.ones_like(y[:1]), y, self.shape.products(y)])
        log_prob = self.coefficients.to(t) @ t  # (near, n)
        if self.far:
            whole = x.new_empty(len(self.origin), len(x))
            whole[self.near] = log_prob.to(x)
            for j in self.far:
                y = x.T - self.origin[j, :, None] - self.offset[j, :, None]
                whole[j] = log_density(self.shape, self.scales[j], y)
            log_prob = whole
        return log_prob.T, lambda responsibilities: self._summarize(x, t, responsibilities.T)

    def _summarize(
        self, x: Float[Tensor, "n d"], t: Float[Tensor, "c n"], r: Float[Tensor, "k n"]
    ) -> Float[Tensor, "k s"]:
        sums = summed(r[self.near].to(t), t)
        near = shift(self.shape, sums[:, 0], sums[:, 1:], self.to_origin)
        if not self.far:
            return near
        total = x.new_zeros(len(r), near.shape[1])
        total[self.near] = near
        for j in self.far:
            total[j] = moments(self.shape, x.T - self.origin[j, :, None], r[j].to(x))
        return total

    def linear(self) -> Linear:
        """The same as sums of products of columns, if no component is far. Of components that share a covariance what
        is quadratic in a row is common to all, and its sums over all rows will do for the M-step, each component being
        given an even part."""
        k, d = self.origin.shape
        pairs = _pairs(self.shape, d, self.tied > 0)
        # of |y|^2 each square is a statistic of its own, with one coefficient for all of them
        linear, second = self.coefficients[:, : 1 + d], self.coefficients[:, 1 + d :]
        quadratic = second.expand(k, len(self.shape.pairs(d)[0]))
        if self.tied:
            return Linear(
                self.centre, pairs, linear.to(self.dtype),
                lambda total, common: self._collected(total, (self._gathered(common) / self.tied).expand(k, -1)),
                quadratic[:: self.tied],
            )  # fmt: skip
        return Linear(
            self.centre, pairs, torch.cat([linear, quadratic], -1).to(self.dtype),
            lambda total, _: self._collected(total[:, : 1 + d], self._gathered(total[:, 1 + d :])),
        )  # fmt: skip

    def _gathered(self, sums: Tensor) -> Tensor:
        """Of the products of columns, those that make up one statistic together: all squares of |y|^2."""
        return sums.unflatten(-1, (self.shape.size(self.origin.shape[1]), -1)).sum(-1)

    def _collected(self, first: Float[Tensor, "k c"], second: Float[Tensor, "k q"]) -> Float[Tensor, "k s"]:
        return shift(self.shape, first[:, 0], torch.cat([first[:, 1:], second], -1), self.to_origin)


@lru_cache(maxsize=64)
def _pairs(shape: Shape, d: int, tied: bool) -> Pairs:
    """1, the columns and the products of them that `shape` sums, the last shared by components that are tied."""
    left, right = ([1 + column for column in side] for side in shape.pairs(d))
    zeros, first = [0] * (1 + d), list(range(1 + d))
    return Pairs.of((zeros, first), (left, right)) if tied else Pairs.of((zeros + left, first + right))


def summed(r: Float[Tensor, "k n"], t: Float[Tensor, "c n"]) -> Float[Tensor, "k c"]:
    """r t', in float64: of float32 so many terms at a time as keep their digits."""
    if r.dtype == torch.float64:
        return r @ t.T
    whole = r.shape[1] // SUMMED * SUMMED
    own, of = (part[:, :whole].unflatten(1, (-1, SUMMED)).transpose(0, 1) for part in (r, t))
    return torch.bmm(own, of.mT).sum(0, dtype=torch.float64) + r[:, whole:] @ t[:, whole:].T


def reach(dtype: torch.dtype) -> float:
    """The squared distance up to which raw moments keep enough digits."""
    return FAR if dtype == torch.float64 else FAR_SINGLE


def squared_sizes(shape: Shape, scales: Tensor, y: Tensor) -> Tensor:
    """The squared lengths of the columns of y (..., d, m) in widths of each component: (..., m)."""
    return shape.whiten(scales, y).square().sum(-2)


def log_density(shape: Shape, scales: Tensor, y: Tensor) -> Tensor:
    """log N(y; 0, Sigma) in nats of centred rows y (..., d, n) under scales (...): (..., n)."""
    d = y.shape[-2]
    squared = shape.whiten(scales, y).square().sum(-2)
    return -0.5 * (d * math.log(2 * math.pi) + shape.log_det(scales, d).unsqueeze(-1) + squared)


def moments(shape: Shape, y: Float[Tensor, "*k d n"], weight: Float[Tensor, "*k n"]) -> Float[Tensor, "*k s"]:
    """The weighted sums of T(y) over n, without forming T(y)."""
    return torch.cat([(y @ weight.unsqueeze(-1)).squeeze(-1), shape.gram(y, weight)], -1)


def shift(shape: Shape, weight: Tensor, total: Tensor, by: Tensor) -> Tensor:
    """Sums (k, s) of T(y), of total weight (k,), to sums of T(y - by), by (k, d)."""
    d = by.shape[-1]
    first, second = total.split([d, shape.size(d)], -1)
    w = weight.unsqueeze(-1)
    return torch.cat([first - w * by, second - 2 * shape.product(first, by) + w * shape.product(by, by)], -1)
