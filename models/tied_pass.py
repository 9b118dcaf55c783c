"""The fused pass of Gaussian components that share one covariance: what they share is done once for each row."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .covariance import Shape
from .fused import reach, shift, summed


class TiedPass:
    """Blocks of rows (n, d) to their log densities (n, k), and a function that sums their (1, y), y from the
    centre, and, shared out evenly, S(y).

    The quadratic term of the log densities is one number for each row, so that a product with k coefficients for each
    column is all that tells the components apart. The M-step asks only for the sum over components of second-order
    sums: those of all rows will do, of which each component is given an even part.

    Arguments as of `FusedPass`, but for the one scale. `is_near`: whether no component is too far from the others for
    raw moments; only then is the pass good.
    """

    def __init__(self, shape: Shape, origin: Tensor, offset: Tensor, unit: Tensor, scale: Tensor, dtype=torch.float64):
        self.shape = shape
        k, d = origin.shape
        self.centre = (origin + offset).mean(0)
        self.to_origin = origin - self.centre
        mean = self.to_origin + offset
        lengths = torch.cat([torch.diag(unit), self.to_origin.T, mean.T], -1)  # (d, d + 2k)
        squared = shape.whiten(scale, lengths).square().sum(0)
        self.is_near = bool((squared[:d].sum() < reach(dtype)) & (squared[d:] < reach(dtype)).all())
        self.white = shape.whiten(scale, torch.eye(d, dtype=scale.dtype, device=scale.device)).to(dtype)
        linear = -0.5 * shape.coefficients(scale.expand(k, *scale.shape), mean)[0]
        self.coefficients = torch.cat([linear.to(dtype), self.white])  # (k + d, d)
        log_det = shape.log_det(scale, d)
        self.constants = (-0.5 * (d * math.log(2 * math.pi) + log_det + squared[-k:])).unsqueeze(-1).to(dtype)
        self.y = self.white.new_empty(0, 0)

    def __call__(self, x: Float[Tensor, "n d"]):
        """log_prob (n, k) and `summarize`."""
        if self.y.shape[1] != len(x):
            self.y = self.white.new_empty(x.shape[1], len(x))
            self.product = self.white.new_empty(len(self.coefficients), len(x))
        y = torch.sub(x.T, self.centre[:, None], out=self.y)
        log_prob, white = torch.mm(self.coefficients, y, out=self.product).split([len(self.constants), len(self.white)])
        log_prob += self.constants
        log_prob -= white.square_().sum(0).mul_(0.5)
        return log_prob.T, lambda responsibilities: self._summarize(y, responsibilities.T)

    def _summarize(self, y: Float[Tensor, "d n"], r: Float[Tensor, "k n"]) -> Float[Tensor, "k c"]:
        weight = r.sum(0)
        second = self.shape.gram(y, weight) / len(r)
        return torch.cat([r.sum(1, keepdim=True), summed(r, y), second.expand(len(r), -1)], -1)

    def collect(self, sums: Float[Tensor, "k c"]) -> Float[Tensor, "k s"]:
        """Sums over all blocks to those of T(x - origin)."""
        return shift(self.shape, sums[:, 0], sums[:, 1:], self.to_origin)
