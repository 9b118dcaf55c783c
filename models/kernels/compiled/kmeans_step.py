"""The compiled assignment step of k-means: nearest centres, sums of their rows, and the rows furthest away."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from .block_sizes import ROWS, STATISTICS
from .compile_kernel import fast
from .floating_point import wide_vectors
from .row_blocks import load_rows, load_weights
from .tiles import add_outer_product, add_product

FEW = 24  # with up to so many clusters, a matrix product sums their rows faster than adding row by row
# |y - c|^2 = |y|^2 - 2 c . y + |c|^2 is used while |y|^2 is below this many times the squared distance: beyond, the
# difference loses digits, and squares are summed instead
DIGITS = 1e5


@fast
@no_type_check
def nearest_centre(joint, k, best, which):
    """For each row the largest of the first k entries of joint and its index; the first index if several are equal."""
    wide_vectors()
    for b in range(joint.shape[1]):
        best[b], which[b] = joint[0, b], 0
    for i in range(1, k):
        for b in range(joint.shape[1]):
            number, most, first = joint[i, b], best[b], which[b]
            best[b] = number if number > most else most
            which[b] = i if number > most else first


@fast
@no_type_check
def squared_distances(y, best, w, limit, found):
    """Compute |y - c|^2 of the rows into `found`, from best = c . y - |c|^2 / 2.

    Returns how many are above `limit` or NaN (counting also rows after the last one), the sum of w times the squared
    distances, and the sum of w |y|^2.
    """
    wide_vectors()
    for b in range(len(best)):
        found[b] = 0
    for i in range(1, len(y)):
        for b in range(len(best)):
            found[b] += y[i, b] * y[i, b]
    beyond, length, distance = 0, 0.0, 0.0
    for b in range(len(best)):
        length += w[b] * found[b]
        found[b] = max(found[b] - 2 * best[b], 0.0)
        distance += w[b] * found[b]
        beyond += 0 if found[b] <= limit else 1  # counted, because a maximum would not be vectorized
    return beyond, distance, length


@fast
@no_type_check
def one_hot_weights(which, w, joint):
    """joint[i, b] = w[b] if row b belongs to component i, else 0."""
    wide_vectors()
    for i in range(len(joint)):
        for b in range(len(w)):
            joint[i, b] = w[b] if which[b] == i else 0.0


@fast
@no_type_check
def add_difference(x, n, centres, j, w, total):
    """total[j] += w (x[n] - centres[j]). Returns the squared length of the difference, without the weight."""
    squared = 0.0
    for m in range(x.shape[1]):
        away = x[n, m] - centres[j, m]
        squared += away * away
        total[j, m] += w * away
    return squared


@fast
@no_type_check
def kmeans_step(x, weights, labels, middle, centres, coefficients, memory, weight, total, sums, row, squared, cluster):
    """Assignment step of k-means: each row goes to its label, or to the nearest centre.

    With y = x - middle, the nearest centre has the largest c . y - |c|^2 / 2. Adds to weight (k,) the row weights of
    each centre, to total (k, d) the weighted sums of x - centre, and to sums (2,) the weighted squared distances and
    the row weights. Also finds the k unlabelled rows that are furthest from their centres: row (k,), their indices
    from 0 here; squared (k,), their squared distances, negative where there are fewer rows; cluster (k,), their
    centres.

    x (n, d); weights, labels (n,), or empty; centres (k, d); coefficients (kp, p), padded, of (1, y); memory
    (3 + p + kp, ROWS) of float64.
    """
    kp, p = coefficients.shape
    k, d = centres.shape
    w, best, away, y, joint = memory[0], memory[1], memory[2], memory[3 : 3 + p], memory[3 + p :]
    nearest, tally = np.empty(ROWS, np.int64), np.zeros((kp, p))
    y[1 + d :] = 0
    squared[:] = -1
    least = 0  # the index of the smallest entry of `squared`
    for start in range(0, len(x), ROWS):
        n = load_rows(x, start, middle, y[: 1 + d])
        load_weights(weights, start, n, w)
        joint[:] = 0
        for s in range(0, p, STATISTICS):
            add_product(coefficients, s, y[s : s + STATISTICS], joint)
        nearest_centre(joint, k, best, nearest)
        by_product, beyond = k <= FEW and len(labels) == 0, n
        if by_product:
            beyond, distance, length = squared_distances(y[: 1 + d], best, w, squared[least], away)
            by_product = distance * DIGITS > length
        if by_product:
            one_hot_weights(nearest, w, joint)
            for s in range(0, p, STATISTICS):
                add_outer_product(joint, y[s : s + STATISTICS], tally, s)
            sums[0] += distance
        # row by row only if the product was not used, or some row is NaN or may be among the furthest
        for b in range(0 if by_product and beyond == 0 else n):
            known = len(labels) > 0 and labels[start + b] >= 0
            if known:
                nearest[b] = labels[start + b]
            if not by_product:
                away[b] = add_difference(x, start + b, centres, nearest[b], w[b], total)
                weight[nearest[b]] += w[b]
                sums[0] += w[b] * away[b]
            if not known and not away[b] <= squared[least]:
                squared[least], row[least], cluster[least] = away[b], start + b, nearest[b]
                least = np.argmin(squared)
        sums[1] += w.sum()
    for i in range(k):
        weight[i] += tally[i, 0]
        for m in range(d):
            total[i, m] += tally[i, 1 + m] - tally[i, 0] * (centres[i, m] - middle[m])
