"""Full covariance matrices, by their Cholesky factors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution


@cache
def _triangle(d: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Indices of the upper triangle of a (d, d) matrix, row by row.

    Returns their rows, their columns, their positions in the flattened matrix, and for each entry of the flattened
    matrix its position in the triangle.
    """
    rows, columns = torch.triu_indices(d, d).unbind()
    square = torch.empty(d, d, dtype=torch.long)
    square[rows, columns] = square[columns, rows] = torch.arange(len(rows))
    return rows.to(device), columns.to(device), (rows * d + columns).to(device), square.flatten().to(device)


class Full:
    """Sigma = L L': S(y) holds the d (d + 1) / 2 products y_i y_j, i <= j, row by row of the upper triangle."""

    name = "scale_tril"
    scale_dims = 2

    @staticmethod
    def size(d: int) -> int:
        """The length of S(y)."""
        return d * (d + 1) // 2

    @staticmethod
    def pairs(d: int) -> tuple[Sequence[int], Sequence[int]]:
        """The two columns whose product each statistic, or each term of one, is."""
        rows, columns = torch.triu_indices(d, d).tolist()
        return rows, columns

    @staticmethod
    def products(y: Tensor) -> Tensor:
        """S(y) (s, n) of y (d, n)."""
        return torch.cat([one * y[i:] for i, one in enumerate(y)])

    @staticmethod
    def gram(y: Tensor, weight: Tensor) -> Tensor:
        """The weighted sums of S(y) (..., d, n) over n, (..., s), without forming S(y)."""
        return Full.pack((y * weight.unsqueeze(-2)) @ y.mT)

    @staticmethod
    def pack(matrix: Tensor) -> Tensor:
        """The upper triangle of symmetric (..., d, d) as (..., s)."""
        return matrix.flatten(-2).index_select(-1, _triangle(matrix.shape[-1], matrix.device)[2])

    @staticmethod
    def unpack(packed: Tensor, d: int) -> Tensor:
        """The inverse of `pack`."""
        return packed.index_select(-1, _triangle(d, packed.device)[3]).unflatten(-1, (d, d))

    @staticmethod
    def diagonal(packed: Tensor, d: int) -> Tensor:
        """A packed covariance (..., s) with its correlations set to 0."""
        return Full.pack(torch.diag_embed(Full.unpack(packed, d).diagonal(dim1=-2, dim2=-1)))

    @staticmethod
    def product(a: Tensor, b: Tensor) -> Tensor:
        """The symmetric bilinear form of rows (k, d) with product(m, m) = S(m): (k, s)."""
        rows, columns, *_ = _triangle(a.shape[-1], a.device)
        first, second = a.index_select(-1, rows), b.index_select(-1, columns)
        if a is b:
            return first * second
        return 0.5 * (first * second + a.index_select(-1, columns) * b.index_select(-1, rows))

    @staticmethod
    def scale(covariance: Tensor, d: int) -> tuple[Tensor, Tensor]:
        """Cholesky factors of packed covariances (..., s), and whether each is positive definite (...).

        The correlation matrix is factored, so that columns of very different units do not cost digits.
        """
        matrix = Full.unpack(covariance, d)
        variance = matrix.diagonal(dim1=-2, dim2=-1)
        width = variance.clamp(min=torch.finfo(matrix.dtype).tiny).sqrt()
        factor, info = torch.linalg.cholesky_ex(matrix / (width.unsqueeze(-1) * width.unsqueeze(-2)))
        pivots = factor.diagonal(dim1=-2, dim2=-1).square()  # the variance of each column given those before it
        sound = (info == 0) & (variance > 0).all(-1) & (pivots > 16 * d * torch.finfo(matrix.dtype).eps).all(-1)
        return width.unsqueeze(-1) * factor, sound

    @staticmethod
    def coefficients(scale: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients of y and of S(y) in y' P y - 2 y' P m, with P = inv(Sigma): (k, d) and (k, s)."""
        # an inverse, because its entries are coefficients of the matrix product
        precision = torch.cholesky_inverse(scale)
        doubled = 2 * precision - torch.diag_embed(precision.diagonal(dim1=-2, dim2=-1))
        return -2 * (precision @ m.unsqueeze(-1)).squeeze(-1), Full.pack(doubled)

    @staticmethod
    def whiten(scale: Tensor, y: Tensor) -> Tensor:
        """inv(L) y for y (..., d, n)."""
        # solved from the right, as y lies in memory, so that nothing is copied
        return torch.linalg.solve_triangular(scale.mT, y.mT, upper=True, left=False).mT

    @staticmethod
    def log_det(scale: Tensor, d: int) -> Tensor:
        """log |Sigma| (...)."""
        return 2 * scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @staticmethod
    def relative(scale: Tensor, reference: Tensor, d: int) -> Tensor:
        """The smallest eigenvalue (k,) of each Sigma relative to the packed covariance `reference` (k, s)."""
        factor, definite = Full.scale(reference, d)
        factor = torch.where(definite[:, None, None], factor, torch.eye(d, dtype=factor.dtype, device=factor.device))
        white = torch.linalg.solve_triangular(factor, scale, upper=False)
        return torch.where(definite, torch.linalg.svdvals(white)[..., -1] ** 2, 0.0)

    @staticmethod
    def matrix(scale: Tensor, d: int) -> Tensor:
        """Sigma (..., d, d)."""
        return scale @ scale.mT

    @staticmethod
    def covariance(scale: Tensor, d: int) -> Tensor:
        """The packed covariance (..., s) of a factor."""
        return Full.pack(scale @ scale.mT)

    @staticmethod
    def trace(scale: Tensor, packed: Tensor, d: int) -> Tensor:
        """tr(inv(Sigma) M) for packed M (..., s)."""
        half = torch.linalg.solve_triangular(scale, Full.unpack(packed, d), upper=False)
        return torch.linalg.solve_triangular(scale, half.mT, upper=False).diagonal(dim1=-2, dim2=-1).sum(-1)

    @staticmethod
    def distribution(loc: Tensor, scale: Tensor) -> Distribution:
        """N(loc, Sigma)."""
        return dist.MultivariateNormal(loc, scale_tril=scale)
