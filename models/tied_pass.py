"""The fused pass of Gaussian components that share one covariance: what they share is done once for each row."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .covariance import Shape
from .fused import reach, shift


class TiedPass:
    """Blocks of rows (n, d) to their log densities (n, k), and a function that sums their T(x - origin).

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
        self.coefficients = (-0.5 * shape.coefficients(scale.expand(k, *scale.shape), mean)[0]).to(dtype)  # (k, d)
        log_det = shape.log_det(scale, d)
        self.constant = (-0.5 * (d * math.log(2 * math.pi) + log_det + squared[-k:])).unsqueeze(-1).to(dtype)

    def __call__(self, x: Float[Tensor, "n d"]):
        """log_prob (n, k) and `summarize`."""
        y = (x - self.centre).to(self.white.dtype).T
        log_prob = torch.addmm(self.constant, self.coefficients, y)  # (k, n)
        log_prob -= (self.white @ y).square_().sum(0).mul_(0.5)
        return log_prob.T, lambda responsibilities: self._summarize(y, responsibilities.T)

    def _summarize(self, y: Float[Tensor, "d n"], r: Float[Tensor, "k n"]) -> Float[Tensor, "k s"]:
        second = self.shape.gram(y, r.sum(0)) / len(r)
        total = torch.cat([r @ y.T, second.expand(len(r), -1)], -1)
        return shift(self.shape, r.sum(1, dtype=self.centre.dtype), total.to(self.centre), self.to_origin)
