"""The three shapes a covariance can have, and all the mathematics that depends on which one it is.

For each shape: the second-order statistic S(y) of a row y = x - origin, the M-step from a weighted sum of it to a
scale, and the quadratic form y' inv(Sigma) y = coefficients . S(y) of the E-step. Rows are *feature-major* here,
y (d, n), so that products and sums run along memory. `scale` is the parameter a user sees: a Cholesky factor
(..., d, d), standard deviations (..., d) or one standard deviation (...).
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution


class Full:
    """Sigma = L L': S(y) holds the d (d + 1) / 2 products y_i y_j, i <= j, row by row of the upper triangle."""

    name = "scale_tril"
    scale_dims = 2

    @staticmethod
    def size(d: int) -> int:
        """The length of S(y)."""
        return d * (d + 1) // 2

    @staticmethod
    def products(y: Tensor, out: Tensor) -> None:
        """S(y) of (d, n) into out (s, n)."""
        start = 0
        for i in range(len(y)):
            torch.mul(y[i], y[i:], out=out[start : start + len(y) - i])
            start += len(y) - i

    @staticmethod
    def gram(y: Tensor, weight: Tensor) -> Tensor:
        """The weighted sum of S(y) over n, (s,), without forming S(y)."""
        return Full.pack((y * weight) @ y.T)

    @staticmethod
    def pack(matrix: Tensor) -> Tensor:
        """The upper triangle of symmetric (..., d, d) as (..., s)."""
        rows, columns = torch.triu_indices(matrix.shape[-1], matrix.shape[-1]).unbind()
        return matrix[..., rows, columns]

    @staticmethod
    def unpack(packed: Tensor, d: int) -> Tensor:
        """`pack` undone."""
        rows, columns = torch.triu_indices(d, d).unbind()
        matrix = packed.new_zeros(*packed.shape[:-1], d, d)
        matrix[..., rows, columns] = packed
        matrix[..., columns, rows] = packed
        return matrix

    @staticmethod
    def diagonal(packed: Tensor, d: int) -> Tensor:
        """The variances in a packed covariance (..., s), the rest zero."""
        return Full.pack(torch.diag_embed(Full.unpack(packed, d).diagonal(dim1=-2, dim2=-1)))

    @staticmethod
    def product(a: Tensor, b: Tensor) -> Tensor:
        """The symmetric bilinear form of rows (k, d) with product(m, m) = S(m): (k, s)."""
        return 0.5 * Full.pack(a.unsqueeze(-1) * b.unsqueeze(-2) + b.unsqueeze(-1) * a.unsqueeze(-2))

    @staticmethod
    def scale(covariance: Tensor, d: int) -> tuple[Tensor, Tensor]:
        """The factor of a packed covariance (..., s), and (...) whether it is positive definite.

        Factors the correlations, so that columns of very different units do not cost digits.
        """
        matrix = Full.unpack(covariance, d)
        variance = matrix.diagonal(dim1=-2, dim2=-1)
        width = variance.clamp(min=torch.finfo(matrix.dtype).tiny).sqrt()
        factor, info = torch.linalg.cholesky_ex(matrix / (width.unsqueeze(-1) * width.unsqueeze(-2)))
        pivots = factor.diagonal(dim1=-2, dim2=-1).square()  # what is left of each column given those before it
        sound = (info == 0) & (variance > 0).all(-1) & (pivots > 16 * torch.finfo(matrix.dtype).eps).all(-1)
        return width.unsqueeze(-1) * factor, sound

    @staticmethod
    def coefficients(scale: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """Of y' P y - 2 y' P m in terms of (y, S(y)): (k, d) and (k, s), with P the precision."""
        precision = torch.cholesky_inverse(scale)  # its entries are the GEMM's coefficients: they are the answer here
        doubled = 2 * precision - torch.diag_embed(precision.diagonal(dim1=-2, dim2=-1))
        return -2 * (precision @ m.unsqueeze(-1)).squeeze(-1), Full.pack(doubled)

    @staticmethod
    def whiten(scale: Tensor, y: Tensor) -> Tensor:
        """inv(L) y for y (..., d, n)."""
        return torch.linalg.solve_triangular(scale, y, upper=False)

    @staticmethod
    def log_det(scale: Tensor, d: int) -> Tensor:
        """log |Sigma| (...)."""
        return 2 * scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @staticmethod
    def relative(scale: Tensor, reference: Tensor, d: int) -> Tensor:
        """The smallest eigenvalue of Sigma (k, ...) whitened by the packed covariance `reference` (s,): (k,)."""
        factor, definite = Full.scale(reference, d)
        if not definite:
            return scale.new_zeros(scale.shape[0])
        white = torch.linalg.solve_triangular(factor, scale, upper=False)
        return torch.linalg.svdvals(white)[..., -1] ** 2

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


class Diagonal:
    """Sigma = diag(scale^2): S(y) holds the d squares."""

    name = "scale"
    scale_dims = 1

    @staticmethod
    def size(d: int) -> int:
        """The length of S(y)."""
        return d

    @staticmethod
    def products(y: Tensor, out: Tensor) -> None:
        """S(y) of (d, n) into out (s, n)."""
        torch.mul(y, y, out=out)

    @staticmethod
    def gram(y: Tensor, weight: Tensor) -> Tensor:
        """The weighted sum of S(y) over n, (s,)."""
        return (y * y) @ weight

    @staticmethod
    def pack(matrix: Tensor) -> Tensor:
        """What this shape keeps of a covariance matrix (..., d, d): its diagonal."""
        return matrix.diagonal(dim1=-2, dim2=-1)

    @staticmethod
    def diagonal(packed: Tensor, d: int) -> Tensor:
        """The variances in a packed covariance: all there is."""
        return packed

    @staticmethod
    def product(a: Tensor, b: Tensor) -> Tensor:
        """The symmetric bilinear form of rows (k, d) with product(m, m) = S(m): (k, d)."""
        return a * b

    @staticmethod
    def scale(covariance: Tensor, d: int) -> tuple[Tensor, Tensor]:
        """Standard deviations of variances (..., d), and (...) whether all are positive."""
        return covariance.clamp(min=torch.finfo(covariance.dtype).tiny).sqrt(), (covariance > 0).all(-1)

    @staticmethod
    def coefficients(scale: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """Of y' P y - 2 y' P m in terms of (y, S(y)): (k, d) and (k, s), with P the precision."""
        precision = scale**-2
        return -2 * precision * m, precision

    @staticmethod
    def whiten(scale: Tensor, y: Tensor) -> Tensor:
        """y / scale for y (..., d, n)."""
        return y / scale.unsqueeze(-1)

    @staticmethod
    def log_det(scale: Tensor, d: int) -> Tensor:
        """log |Sigma| (...)."""
        return 2 * scale.log().sum(-1)

    @staticmethod
    def relative(scale: Tensor, reference: Tensor, d: int) -> Tensor:
        """The smallest ratio of the variances (k, d) to those of `reference` (d,): (k,)."""
        return (scale**2 / reference).amin(-1)

    @staticmethod
    def matrix(scale: Tensor, d: int) -> Tensor:
        """Sigma (..., d, d)."""
        return torch.diag_embed(scale**2)

    @staticmethod
    def covariance(scale: Tensor, d: int) -> Tensor:
        """Variances (..., d)."""
        return scale**2

    @staticmethod
    def trace(scale: Tensor, packed: Tensor, d: int) -> Tensor:
        """tr(inv(Sigma) M) for packed M (..., d)."""
        return (packed / scale**2).sum(-1)

    @staticmethod
    def distribution(loc: Tensor, scale: Tensor) -> Distribution:
        """N(loc, Sigma)."""
        return dist.Normal(loc, scale).to_event(1)


class Spherical:
    """Sigma = scale^2 I: S(y) is the one number |y|^2."""

    name = "scale"
    scale_dims = 0

    @staticmethod
    def size(d: int) -> int:
        """The length of S(y)."""
        return 1

    @staticmethod
    def products(y: Tensor, out: Tensor) -> None:
        """S(y) of (d, n) into out (1, n)."""
        torch.sum(y * y, 0, keepdim=True, out=out)

    @staticmethod
    def gram(y: Tensor, weight: Tensor) -> Tensor:
        """The weighted sum of S(y) over n, (1,)."""
        return ((y * y) @ weight).sum(0, keepdim=True)

    @staticmethod
    def pack(matrix: Tensor) -> Tensor:
        """What this shape keeps of a covariance matrix (..., d, d): its trace, (..., 1)."""
        return matrix.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True)

    @staticmethod
    def diagonal(packed: Tensor, d: int) -> Tensor:
        """The variances in a packed covariance: all there is."""
        return packed

    @staticmethod
    def product(a: Tensor, b: Tensor) -> Tensor:
        """The symmetric bilinear form of rows (k, d) with product(m, m) = S(m): (k, 1)."""
        return (a * b).sum(-1, keepdim=True)

    @staticmethod
    def scale(covariance: Tensor, d: int) -> tuple[Tensor, Tensor]:
        """The standard deviation of a trace (..., 1), and (...) whether it is positive."""
        trace = covariance.squeeze(-1)
        return (trace / d).clamp(min=torch.finfo(trace.dtype).tiny).sqrt(), trace > 0

    @staticmethod
    def coefficients(scale: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """Of y' P y - 2 y' P m in terms of (y, S(y)): (k, d) and (k, 1), with P the precision."""
        precision = scale.unsqueeze(-1) ** -2
        return -2 * precision * m, precision

    @staticmethod
    def whiten(scale: Tensor, y: Tensor) -> Tensor:
        """y / scale for y (..., d, n)."""
        return y / scale[..., None, None]

    @staticmethod
    def log_det(scale: Tensor, d: int) -> Tensor:
        """log |Sigma| (...)."""
        return 2 * d * scale.log()

    @staticmethod
    def relative(scale: Tensor, reference: Tensor, d: int) -> Tensor:
        """The variances (k,) over that of `reference` (1,): (k,)."""
        return scale**2 / (reference / d)

    @staticmethod
    def matrix(scale: Tensor, d: int) -> Tensor:
        """Sigma (..., d, d)."""
        return scale[..., None, None] ** 2 * torch.eye(d, dtype=scale.dtype)

    @staticmethod
    def covariance(scale: Tensor, d: int) -> Tensor:
        """The trace (..., 1)."""
        return d * scale.unsqueeze(-1) ** 2

    @staticmethod
    def trace(scale: Tensor, packed: Tensor, d: int) -> Tensor:
        """tr(inv(Sigma) M) for the trace of M (..., 1)."""
        return packed.squeeze(-1) / scale**2

    @staticmethod
    def distribution(loc: Tensor, scale: Tensor) -> Distribution:
        """N(loc, scale^2 I)."""
        return dist.Normal(loc, scale.unsqueeze(-1).expand_as(loc)).to_event(1)


Shape = type[Full] | type[Diagonal] | type[Spherical]

SHAPES: dict[str, tuple[Shape, bool]] = {  # covariance word -> (shape, tied)
    "full": (Full, False),
    "tied": (Full, True),
    "diag": (Diagonal, False),
    "spherical": (Spherical, False),
    "tied-diag": (Diagonal, True),
    "tied-spherical": (Spherical, True),
}
