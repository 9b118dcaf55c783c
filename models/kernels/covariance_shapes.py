"""The three shapes that a covariance can have. All mathematics that depends on the shape is in these classes.

A shape defines the second-order statistic S(y) of a row y = x - origin; the M-step, from a weighted sum of S(y) to a
scale; and the quadratic form of the E-step, y' inv(Sigma) y = coefficients . S(y). Rows are feature-major here, y (d,
n), so that products and sums run along memory. `scale` is the parameter that a user sees: a Cholesky factor (..., d,
d), standard deviations (..., d) or one standard deviation (...).
"""

from __future__ import annotations

from .diagonal_covariance import Diagonal, Spherical
from .full_covariance import Full

Shape = type[Full] | type[Diagonal] | type[Spherical]

SHAPES: dict[str, tuple[Shape, bool]] = {  # the argument `covariance` -> (shape, tied)
    "full": (Full, False),
    "tied": (Full, True),
    "diag": (Diagonal, False),
    "spherical": (Spherical, False),
    "tied-diag": (Diagonal, True),
    "tied-spherical": (Spherical, True),
}
