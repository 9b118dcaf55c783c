"""Gaussian parameters in compiled code: from sums to parameters, and from parameters to coefficients of statistics.

On a small table these steps, by torch, take a hundred times as long as the rows. Covariances are given by `dims`, the
dimensions of one scale: 2 for a Cholesky factor, 1 for standard deviations, 0 for one standard deviation. Scales are
unconstrained and flat, (scales, w) with w = d d, d or 1: logarithms of diagonals, and factors in the units of columns.
Each group of k / scales components in turn has one scale.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np

from .compile_kernel import fast


@fast
@no_type_check
def inverse_factor(dims, unit, scale, out):
    """The inverse of a Cholesky factor (d, d) from its unconstrained scale (w,). Returns log |Sigma|."""
    d = len(unit)
    out[:] = 0
    log_det = 0.0
    for i in range(d):
        diagonal = unit[i] * math.exp(scale[i * d + i]) if dims == 2 else math.exp(scale[i if dims == 1 else 0])
        log_det += 2 * math.log(diagonal)
        reciprocal = 1 / diagonal
        if dims == 2:
            for a in range(i):
                factor = unit[i] * scale[i * d + a]
                for c in range(a + 1):
                    out[i, c] -= factor * out[a, c]
            for c in range(i):
                out[i, c] *= reciprocal
        out[i, i] = reciprocal
    return log_det


@fast
@no_type_check
def squared_length(inverse, y, white):
    """|inv(L) y|^2, and inv(L) y into `white`."""
    total = 0.0
    for i in range(len(y)):
        white[i] = 0
        for c in range(i + 1):
            white[i] += inverse[i, c] * y[c]
        total += white[i] * white[i]
    return total


@fast
@no_type_check
def squared_unit(inverse, unit):
    """The sum over columns of |inv(L) unit[c] e_c|^2: the squared size of the data in the widths of a component."""
    total = 0.0
    for i in range(len(unit)):
        for c in range(i + 1):
            total += (inverse[i, c] * unit[c]) ** 2
    return total


@fast
@no_type_check
def gaussian_coefficients(dims, origin, location, unit, scale, centre, to_origin, coefficients):
    """Log densities as coefficients (k, 1 + d + s) of (1, y, S(y)), y = x - centre, as `GaussianPass` has them.

    Writes `centre` (d,), the mean of all means; `to_origin` (k, d), each origin minus the centre; and the coefficients.
    location (k, d): means minus origins, in units. Returns the largest squared size of what is measured from the
    centre, in the widths of a component: NaN where a parameter is.
    """
    k, d = origin.shape
    group = k // len(scale)
    inverse, white = np.empty((d, d)), np.empty(d)
    mean = np.empty(d)
    centre[:] = 0
    for j in range(k):
        for i in range(d):
            centre[i] += (origin[j, i] + unit[i] * location[j, i]) / k
    largest, log_det, units = 0.0, 0.0, 0.0
    for j in range(k):
        if j % group == 0:
            log_det = inverse_factor(dims, unit, scale[j // group], inverse)
            units = squared_unit(inverse, unit)
        for i in range(d):
            to_origin[j, i] = origin[j, i] - centre[i]
        size = squared_length(inverse, to_origin[j], white)
        for i in range(d):
            mean[i] = to_origin[j, i] + unit[i] * location[j, i]
        squared = squared_length(inverse, mean, white)
        size = max(size, squared) + units
        largest = size if not size <= largest else largest
        row = coefficients[j]
        row[:] = 0
        row[0] = -0.5 * (d * math.log(2 * math.pi) + log_det + squared)
        for i in range(d):
            for c in range(i + 1):
                row[1 + c] += inverse[i, c] * white[i]
        if dims < 2:
            for i in range(d if dims else 1):
                row[1 + d + i] = -0.5 * inverse[i, i] ** 2
        else:
            for i in range(d):
                for a in range(i + 1):
                    at = 1 + d + a * d - (a * (a - 1)) // 2 - a
                    for b in range(a, i + 1):
                        row[at + b] -= (0.5 if a == b else 1.0) * inverse[i, a] * inverse[i, b]
    return largest


@fast
@no_type_check
def shift_sums(dims, first, second, share, by, out):
    """Sums of (y, S(y)) about a centre, as sums about the centre + by (k, d): out (k, d + s).

    first (k, 1 + d): weights, and sums of y; second (k, q), or (1, q) times `share` where all components have the same:
    sums of the products, where q = d also if S(y) is the squared length.
    """
    k, d = by.shape
    for j in range(k):
        w, row, products = first[j, 0], out[j], second[j if len(second) == k else 0]
        for i in range(d):
            row[i] = first[j, 1 + i] - w * by[j, i]
        if dims == 2:
            at = d
            for a in range(d):
                for b in range(a, d):
                    cross = first[j, 1 + a] * by[j, b] + first[j, 1 + b] * by[j, a] - w * by[j, a] * by[j, b]
                    row[at] = share * products[at - d] - cross
                    at += 1
        else:
            row[d:] = 0
            for i in range(d):
                cross = 2 * first[j, 1 + i] * by[j, i] - w * by[j, i] ** 2
                row[d + i if dims else d] += share * products[i] - cross


@fast
@no_type_check
def gaussian_m_step(dims, unit, weight, total, divisor, extra, precise, location, scale):
    """Means and covariances from sums of (y, S(y)) about the origins, if rounding leaves them all their digits.

    weight (k,) and total (k, d + s): what means are made of; divisor (scales,): what the scatters are divided by;
    extra (s,): the scatter of a prior. Writes location (k, d), means minus origins in units, and the unconstrained
    scales. Returns whether every component has weight and a covariance that is not singular, and is neither further
    from its origin nor thinner beside the data than `precise` in squares.
    """
    k, d = location.shape
    group = k // len(scale)
    s = total.shape[1] - d
    scatter, offset, white = np.empty(s), np.empty(d), np.empty(d)
    width, factor, inverse = np.empty(d), np.empty((d, d)), np.empty((d, d))
    least = 16 * d * np.finfo(np.float64).eps
    for g in range(len(scale)):
        scatter[:] = 0
        for j in range(g * group, (g + 1) * group):
            if not weight[j] > 0:
                return False
            for i in range(d):
                offset[i] = total[j, i] / weight[j]
                location[j, i] = offset[i] / unit[i]
            if dims == 2:
                at = 0
                for a in range(d):
                    for b in range(a, d):
                        scatter[at] += total[j, d + at] - weight[j] * (offset[a] * offset[b])
                        at += 1
            elif dims == 1:
                for i in range(d):
                    scatter[i] += total[j, d + i] - weight[j] * (offset[i] * offset[i])
            else:
                squared = 0.0
                for i in range(d):
                    squared += offset[i] * offset[i]
                scatter[0] += total[j, d] - weight[j] * squared
        for i in range(s):
            scatter[i] = (scatter[i] + extra[i]) / divisor[g]
        own = scale[g]
        if dims == 2:
            own[:] = 0
            for i in range(d):
                variance = scatter[i * d - (i * (i - 1)) // 2]
                if not variance > 0:
                    return False
                width[i] = math.sqrt(variance)
            for i in range(d):  # the Cholesky factor of the correlations, so that units do not cost digits
                for c in range(i + 1):
                    number = scatter[c * d - (c * (c - 1)) // 2 + i - c] / (width[i] * width[c])
                    for a in range(c):
                        number -= factor[i, a] * factor[c, a]
                    if c < i:
                        factor[i, c] = number / factor[c, c]
                        own[i * d + c] = width[i] * factor[i, c] / unit[i]
                    elif number > least:
                        factor[i, i] = math.sqrt(number)
                        own[i * d + i] = math.log(width[i] * factor[i, i] / unit[i])
                    else:
                        return False
        else:
            for i in range(s):
                variance = scatter[i] / (1 if dims else d)
                if not variance > 0:
                    return False
                own[i] = math.log(math.sqrt(variance))
        inverse_factor(dims, unit, own, inverse)
        if not squared_unit(inverse, unit) <= precise:
            return False
        for j in range(g * group, (g + 1) * group):
            for i in range(d):
                offset[i] = unit[i] * location[j, i]
            if not squared_length(inverse, offset, white) <= precise:
                return False
    return True
