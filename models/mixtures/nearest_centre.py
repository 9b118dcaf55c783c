"""Rows to their nearest centre: one matrix product, or the compiled pass."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..kernels.compiled.sizes import COMPONENTS, STATISTICS, padded
from ..kernels.parallel_rows import add_parts, run_in_parts

SHARP = 1e-9  # how much of the least distance of two centres rounding may take before distances are taken one by one


class Nearest:
    """Rows (n, d) to the nearest of the centres: where x . c - |c|^2 / 2 is largest, one matrix product, measured from
    the middle of the centres. Where rounding would tell two centres apart badly, distance by distance."""

    def __init__(self, centres: Float[Tensor, "k d"]):
        self.centres, self.middle = centres, centres.mean(0)
        self.c = c = centres - self.middle
        self.products = torch.cat([-0.5 * c.square().sum(1, keepdim=True), c], 1)  # (k, 1 + d)
        apart = torch.cdist(c, c, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
        apart = torch.where(apart > 0, apart, torch.inf).min()
        self.sharp = torch.finfo(c.dtype).eps * float(c.square().sum(1).max()) <= SHARP * float(apart) ** 2

    def of(self, x: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """The cluster of each, of equally near ones the first."""
        if not self.sharp:
            return torch.cdist(x, self.centres, compute_mode="donot_use_mm_for_euclid_dist").min(1).indices
        return (self.products[:, 1:] @ (x - self.middle).T).add_(self.products[:, :1]).argmax(0)

    def assigned(
        self, x: Float[Tensor, "n d"], weights: Float[Tensor, " n"] | None, labels: Int[Tensor, " n"] | None
    ) -> tuple[Tensor, ...]:
        """All that `HardStatistics` needs of rows on the CPU, but the bound, in its order, by the compiled pass: only
        where centres are `sharp`."""
        from ..kernels.compiled.kmeans_step import kmeans_step  # here: numba is slow to import

        k, d = self.centres.shape
        if x.shape[1] != d or (labels is not None and int(labels.max()) >= k):
            raise ValueError(f"got {x.shape[1]} columns, or labels beyond {k - 1}, expected {d} columns, and centres")
        coefficients = np.zeros((padded(k, COMPONENTS), padded(1 + d, STATISTICS)))
        coefficients[:k, : 1 + d] = self.products.numpy()
        given = self.middle.contiguous().numpy(), self.centres.contiguous().numpy(), coefficients
        memory = 3 + sum(coefficients.shape), torch.float64
        sums = ((k,), float), ((k, d), float), ((2,), float), ((k,), np.int64), ((k,), float), ((k,), np.int64)
        parts = run_in_parts(kmeans_step, x, weights, labels, given, memory, sums, coefficients.size + 4 * k + 16 * d)
        row = torch.from_numpy(np.concatenate([start + found[3] for start, found in parts]))
        squared, cluster = (torch.from_numpy(np.concatenate([found[i] for _, found in parts])) for i in (4, 5))
        squared, top = squared.topk(min(k, len(squared)))
        top, squared = top[squared >= 0], squared[squared >= 0]
        row = row[top]
        row_weight = torch.ones_like(squared) if weights is None else weights[row]
        weight, total, (distortion, total_weight) = map(
            torch.from_numpy, add_parts([(start, found[:3]) for start, found in parts])
        )
        return weight, total, distortion, total_weight, squared, x[row], row_weight, cluster[top]
