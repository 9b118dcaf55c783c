"""Matrix products in compiled code, by tiles that fit the registers: statistics of rows, and sums over rows."""

from __future__ import annotations

from typing import no_type_check

from .block_sizes import COMPONENTS, STATISTICS
from .compile_kernel import fast
from .floating_point import wide_vectors


@fast
@no_type_check
def statistics_tile(y, left, right, s, t):
    """Compute statistics s .. s + 5 of the rows into t: each is a product of two rows of y."""
    wide_vectors()
    for i in range(STATISTICS):
        one, other = left[s + i], right[s + i]
        for b in range(y.shape[1]):
            t[i, b] = y[one, b] * y[other, b]


@fast
@no_type_check
def row_tile(matrix, i, s):
    """Entries s .. s + 5 of row i, as six variables that stay in registers."""
    return matrix[i, s], matrix[i, s + 1], matrix[i, s + 2], matrix[i, s + 3], matrix[i, s + 4], matrix[i, s + 5]


@fast
@no_type_check
def add_product(coefficients, s, t, joint):
    """joint += coefficients[:, s : s + 6] @ t, four components at a time."""
    wide_vectors()
    for i in range(0, len(joint), COMPONENTS):
        a0, a1, a2, a3, a4, a5 = row_tile(coefficients, i, s)
        b0, b1, b2, b3, b4, b5 = row_tile(coefficients, i + 1, s)
        c0, c1, c2, c3, c4, c5 = row_tile(coefficients, i + 2, s)
        d0, d1, d2, d3, d4, d5 = row_tile(coefficients, i + 3, s)
        for b in range(t.shape[1]):
            t0, t1, t2, t3, t4, t5 = t[0, b], t[1, b], t[2, b], t[3, b], t[4, b], t[5, b]
            joint[i, b] += a0 * t0 + a1 * t1 + a2 * t2 + a3 * t3 + a4 * t4 + a5 * t5
            joint[i + 1, b] += b0 * t0 + b1 * t1 + b2 * t2 + b3 * t3 + b4 * t4 + b5 * t5
            joint[i + 2, b] += c0 * t0 + c1 * t1 + c2 * t2 + c3 * t3 + c4 * t4 + c5 * t5
            joint[i + 3, b] += d0 * t0 + d1 * t1 + d2 * t2 + d3 * t3 + d4 * t4 + d5 * t5


@fast
@no_type_check
def flush_panel(joint, panel):
    """joint += panel; panel = 0."""
    wide_vectors()
    for i in range(len(joint)):
        for b in range(joint.shape[1]):
            joint[i, b] += panel[i, b]
            panel[i, b] = 0


@fast
@no_type_check
def add_outer_product(share, t, total, s):
    """total[:, s : s + 6] += share @ t.T, four components and three statistics at a time."""
    wide_vectors()
    for i in range(0, len(share), COMPONENTS):
        for j in range(0, STATISTICS, 3):
            a0 = a1 = a2 = b0 = b1 = b2 = c0 = c1 = c2 = d0 = d1 = d2 = t.dtype.type(0)
            for b in range(t.shape[1]):
                t0, t1, t2 = t[j, b], t[j + 1, b], t[j + 2, b]
                r0, r1, r2, r3 = share[i, b], share[i + 1, b], share[i + 2, b], share[i + 3, b]
                a0, a1, a2 = a0 + r0 * t0, a1 + r0 * t1, a2 + r0 * t2
                b0, b1, b2 = b0 + r1 * t0, b1 + r1 * t1, b2 + r1 * t2
                c0, c1, c2 = c0 + r2 * t0, c1 + r2 * t1, c2 + r2 * t2
                d0, d1, d2 = d0 + r3 * t0, d1 + r3 * t1, d2 + r3 * t2
            add_to_tile(total, i, s + j, a0, a1, a2)
            add_to_tile(total, i + 1, s + j, b0, b1, b2)
            add_to_tile(total, i + 2, s + j, c0, c1, c2)
            add_to_tile(total, i + 3, s + j, d0, d1, d2)


@fast
@no_type_check
def add_to_tile(total, i, s, one, two, three):
    """Add three numbers to entries s .. s + 2 of row i."""
    total[i, s] += one
    total[i, s + 1] += two
    total[i, s + 2] += three


@fast
@no_type_check
def add_weighted_sums(w, t, found, s):
    """found[s : s + 6] += t @ w."""
    wide_vectors()
    for i in range(STATISTICS):
        total = t.dtype.type(0)
        for b in range(t.shape[1]):
            total += w[b] * t[i, b]
        found[s + i] += total
