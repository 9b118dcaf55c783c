"""The fused pass of full covariances in many columns, where forming all products of columns would cost the most."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .full import Full
from .fused import squared_sizes

# Squared distances, in widths, up to which digits enough are kept: rounding grows with the distance, not its square.
REACH = {torch.float64: 1e6, torch.float32: 1e4}
PANEL = 16  # rows of a triangle that are multiplied at a time: of what is 0 in it, only their own corners are


class WidePass:
    """Blocks of rows (n, d) to their log densities (n, k), and a function that sums (1, y) and y y' less origin y',
    y from the centre.

    With W_k = inv(L_k) the squared distance is |W_k (x - mean_k)|^2, and the second-order sums are those of
    (r_k * (x - origin_k)) y', y from the middle, less what first-order sums tell. Both matrices are triangles, which
    are done in panels of rows, each one matrix product for all components: 4 d^2 flops a row and component at most, and
    little more than half of them.

    Arguments as of `FusedPass`. `is_near`: whether no component is too far from the others; only then is the pass good.
    """

    def __init__(self, origin: Tensor, offset: Tensor, unit: Tensor, scales: Tensor, dtype=torch.float64):
        k, d = origin.shape
        self.centre = (origin + offset).mean(0)
        self.to_origin = origin - self.centre
        mean = self.to_origin + offset
        lengths = torch.cat([torch.diag(unit).expand(k, d, d), mean.unsqueeze(-1), self.to_origin.unsqueeze(-1)], -1)
        squared = squared_sizes(Full, scales, lengths)
        self.is_near = bool((squared[:, :d].sum(1) < REACH[dtype]).all() & (squared[:, d:] < REACH[dtype]).all())
        white = Full.whiten(scales, torch.eye(d, dtype=scales.dtype, device=scales.device).expand(k, d, d))
        self.panels = []
        for start in range(0, d, PANEL):
            rows = white[:, start : start + PANEL]
            shifts = -(rows @ mean.unsqueeze(-1))
            end = start + rows.shape[1]
            self.panels.append((start, end, rows[..., :end].flatten(0, 1).to(dtype), shifts.flatten(0, 1).to(dtype)))
        log_det = Full.log_det(scales, d)
        self.constants = (-0.5 * (d * math.log(2 * math.pi) + log_det)).unsqueeze(-1).to(dtype)

    def __call__(self, x: Float[Tensor, "n d"]):
        """log_prob (n, k) and `summarize`."""
        k = len(self.constants)
        y = torch.sub(x.T, self.centre[:, None], out=self.constants.new_empty(x.shape[1], len(x)))
        squared, buffer = 0.0, y.new_empty(k * PANEL, len(x))
        for start, end, rows, shifts in self.panels:
            z = torch.addmm(shifts, rows, y[:end], out=buffer[: len(rows)])
            squared = squared + z.square_().view(k, end - start, -1).sum(1)
        log_prob = torch.add(self.constants, squared, alpha=-0.5)
        return log_prob.T, lambda responsibilities: self._summarize(y, responsibilities.T, buffer)

    def _summarize(
        self, y: Float[Tensor, "d n"], r: Float[Tensor, "k n"], buffer: Float[Tensor, "kr n"]
    ) -> Float[Tensor, "k s"]:
        k, d, origin = len(r), len(y), self.to_origin.to(y.dtype)
        second = y.new_empty(k, d, d)
        for start, end, _, _ in self.panels:
            weighted = buffer[: k * (end - start)]
            centred = weighted.view(k, end - start, -1)
            torch.sub(y[start:end], origin[:, start:end, None], out=centred).mul_(r.unsqueeze(1))
            second[:, start:end, start:] = (weighted @ y[start:].T).view(k, end - start, -1)
        return torch.cat([r.sum(1, keepdim=True), r @ y.T, Full.pack(second)], -1).to(self.centre)

    def collect(self, sums: Float[Tensor, "k c"]) -> Float[Tensor, "k s"]:
        """Sums over all blocks to those of T(x - origin)."""
        d = len(self.centre)
        weight, first, second = sums.split([1, d, Full.size(d)], -1)
        first = first - weight * self.to_origin
        return torch.cat([first, second - Full.pack(first.unsqueeze(-1) * self.to_origin.unsqueeze(1))], -1)
