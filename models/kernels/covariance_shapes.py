"""The three shapes a covariance can have, and all the mathematics that depends on which one it is.

For each shape: the second-order statistic S(y) of a row y = x - origin, the M-step from a weighted sum of it to a
scale, and the quadratic form y' inv(Sigma) y = coefficients . S(y) of the E-step. Rows are *feature-major* here,
y (d, n), so that products and sums run along memory. `scale` is the parameter a user sees: a Cholesky factor
(..., d, d), standard deviations (..., d) or one standard deviation (...).
"""

from __future__ import annotations

from .diagonal_covariance import Diagonal, Spherical
from .full_covariance import Full

Shape = type[Full] | type[Diagonal] | type[Spherical]

SHAPES: dict[str, tuple[Shape, bool]] = {  # covariance word -> (shape, tied)
    "full": (Full, False),
    "tied": (Full, True),
    "diag": (Diagonal, False),
    "spherical": (Spherical, False),
    "tied-diag": (Diagonal, True),
    "tied-spherical": (Spherical, True),
}
