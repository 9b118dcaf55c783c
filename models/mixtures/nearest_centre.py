"""The nearest centre of each row: by one matrix product, or in the compiled pass of k-means."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..kernels.compiled.block_sizes import COMPONENTS, STATISTICS, padded
from ..kernels.parallel_rows import add_parts, run_in_parts

# The matrix product is used if its rounding error is at most this fraction of the squared distance of the two nearest
# centres. Otherwise each distance is computed from differences.
MAX_ROUNDING_ERROR = 1e-9


class NearestCentre:
    """The nearest of k centres to each row: the one with the largest x . c - |c|^2 / 2, by one matrix product.

    Rows and centres are measured from the mean of the centres, which keeps the rounding error small. If two centres are
    so near to each other that rounding could still confuse them, each distance is computed from differences.

    Args:
        centres: (k, d), in the units of the data.
    """

    def __init__(self, centres: Float[Tensor, "k d"]):
        self.centres, self.origin = centres, centres.mean(0)
        c = centres - self.origin
        self.products = torch.cat([-0.5 * c.square().sum(1, keepdim=True), c], 1)  # (k, 1 + d)
        apart = torch.cdist(c, c, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
        apart = torch.where(apart > 0, apart, torch.inf).min()
        rounding_error = torch.finfo(c.dtype).eps * float(c.square().sum(1).max())
        self.product_is_accurate = rounding_error <= MAX_ROUNDING_ERROR * float(apart) ** 2

    def assign(self, x: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """The cluster of each row, 0 .. k - 1; of equally near ones the first."""
        if not self.product_is_accurate:
            return torch.cdist(x, self.centres, compute_mode="donot_use_mm_for_euclid_dist").min(1).indices
        return (self.products[:, 1:] @ (x - self.origin).T).add_(self.products[:, :1]).argmax(0)

    def hard_sums(
        self, x: Float[Tensor, "n d"], weights: Float[Tensor, " n"] | None, labels: Int[Tensor, " n"] | None
    ) -> tuple[Tensor, ...]:
        """The fields of `HardStatistics` without the bound, in its order, by the compiled pass.

        For rows on the CPU, and only if `product_is_accurate`.

        Args:
            x: (n, d) rows.
            weights: (n,) row weights, or None for ones.
            labels: (n,) known clusters, -1 where unknown, or None.

        Raises:
            ValueError: x has another number of columns than the centres, or a label is above k - 1.
        """
        from ..kernels.compiled.kmeans_step import kmeans_step  # here: numba is slow to import

        k, d = self.centres.shape
        if x.shape[1] != d or (labels is not None and int(labels.max()) >= k):
            raise ValueError(
                f"got {x.shape[1]} columns, or a label above {k - 1}, expected {d} columns and labels of -1 .. {k - 1}"
            )
        coefficients = np.zeros((padded(k, COMPONENTS), padded(1 + d, STATISTICS)))
        coefficients[:k, : 1 + d] = self.products.numpy()
        given = self.origin.contiguous().numpy(), self.centres.contiguous().numpy(), coefficients
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
