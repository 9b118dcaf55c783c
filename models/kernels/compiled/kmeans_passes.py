"""Many compiled passes of k-means in one call. Rows whose nearest centre cannot have changed are not visited.

For each row there are an upper bound of the distance to its own centre and a lower bound of that to any other (Hamerly,
SIAM International Conference on Data Mining 2010, 130-140). A pass moves both by as much as the centres have moved, and
visits the rows where they do not decide. The assignment is that of `kmeans_step`; sums change by the rows that change
their cluster.

Longer than 300 lines because the passes share fourteen arrays, which functions of other files would be handed one by
one.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from .block_sizes import ROWS, STATISTICS
from .compile_kernel import fast
from .floating_point import wide_vectors
from .tiles import add_product

EPSILON = 2.220446049250313e-16
SLACK = 1 + 1e-12  # the bounds of a row are sums over up to some hundred passes
MAX_ROUNDING_ERROR = 1e-9  # as in `NearestCentre`
CANCELLED = 1e3  # sums are taken anew when so many times the distortion has been added and subtracted
VECTOR = 8  # rows of a block are padded to a multiple of this

# more to come; no centre moves any more; the next pass cannot be made here; rows must be assigned once more
GOING, FIXED, PLAIN, AGAIN = 0, 1, 2, 3


@fast
@no_type_check
def squared_distance(one, other):
    """|one - other|^2 of two vectors."""
    squared = 0.0
    for j in range(len(one)):
        away = one[j] - other[j]
        squared += away * away
    return squared


@fast
@no_type_check
def prepare_centres(centres, middle, coefficients, half):
    """What a pass needs of the centres: their mean, the coefficients of (1, x - mean), half the distance of each to the
    nearest other. Returns the largest squared distance to the mean; NaN if products cannot tell two centres apart."""
    k, d = centres.shape
    middle[:] = 0
    for i in range(k):
        for j in range(d):
            middle[j] += centres[i, j] / k
    largest, apart = 0.0, np.inf
    for i in range(k):
        for j in range(d):
            coefficients[i, 1 + j] = centres[i, j] - middle[j]
        squared = squared_distance(centres[i], middle)
        coefficients[i, 0] = -0.5 * squared
        largest = max(largest, squared)
        half[i] = np.inf
    for i in range(k):
        for j in range(i):
            squared = squared_distance(centres[i], centres[j])
            half[i], half[j] = min(half[i], squared), min(half[j], squared)
            if 0 < squared < apart:
                apart = squared
    for i in range(k):
        half[i] = 0.5 * np.sqrt(half[i])
    return largest if EPSILON * largest <= MAX_ROUNDING_ERROR * apart else np.nan


@fast
@no_type_check
def nearest_two(joint, k, best, second, which):
    """For each row the two largest of the first k entries of joint, and the first index of the largest."""
    wide_vectors()
    for b in range(joint.shape[1]):
        best[b], second[b], which[b] = joint[0, b], -np.inf, 0
    for i in range(1, k):
        for b in range(joint.shape[1]):
            number, most, next_most, first = joint[i, b], best[b], second[b], which[b]
            lower = most if number > most else number
            second[b] = lower if lower > next_most else next_most
            best[b] = number if number > most else most
            which[b] = i if number > most else first


@fast
@no_type_check
def bounds_of_block(y, dimensions, largest, best, second, squared):
    """From best and second = c . y - |c|^2 / 2 of the two nearest centres: an upper bound of the distance to the
    nearest, and a lower bound of that to any other. They take the place of `best` and `second`."""
    wide_vectors()
    factor = 4 * (dimensions + 4) * EPSILON
    for b in range(len(best)):
        squared[b] = 0
    for j in range(1, 1 + dimensions):
        for b in range(len(best)):
            squared[b] += y[j, b] * y[j, b]
    for b in range(len(best)):
        error = factor * (squared[b] + largest)
        best[b] = np.sqrt(max(squared[b] - 2 * best[b], 0.0) + error)
        second[b] = np.sqrt(max(squared[b] - 2 * second[b] - error, 0.0))


@fast
@no_type_check
def change_clusters(x, weights, rows, n, first, which, near, weight, total, square, count):
    """Move these rows to the clusters `which`. Returns the sizes of what was added to the sums and subtracted."""
    size, d = 0.0, x.shape[1]
    for b in range(n):
        i, new, old = rows[b], which[b], near[rows[b]]
        if new == old:
            continue
        w = weights[i] if len(weights) else 1.0
        squared = 0.0
        for j in range(d):
            away = x[i, j] - first[new, j]
            squared += away * away
            total[new, j] += w * away
        weight[new] += w
        square[new] += w * squared
        count[new] += 1
        size += w * squared
        if old >= 0:
            squared = 0.0
            for j in range(d):
                away = x[i, j] - first[old, j]
                squared += away * away
                total[old, j] -= w * away
            weight[old] -= w
            square[old] -= w * squared
            count[old] -= 1
            size += w * squared
        near[i] = new
    return size


@fast
@no_type_check
def assign_block(x, rows, n, middle, coefficients, largest, memory, k, which, upper, lower):
    """Find the nearest centres of n rows, `which`, and their bounds."""
    (kp, p), d = coefficients.shape, x.shape[1]
    m = -(-n // VECTOR) * VECTOR
    best, second, squared = memory[:m], memory[m : 2 * m], memory[2 * m : 3 * m]
    y, joint = memory[3 * m : (3 + p) * m].reshape(p, m), memory[(3 + p) * m : (3 + p + kp) * m].reshape(kp, m)
    y[0] = 1
    y[1 + d :] = 0
    for b in range(n):
        i = rows[b]
        for j in range(d):
            y[1 + j, b] = x[i, j] - middle[j]
    y[1:, n:] = 0
    joint[:] = 0
    for s in range(0, p, STATISTICS):
        add_product(coefficients, s, y[s : s + STATISTICS], joint)
    nearest_two(joint, k, best, second, which[:m])
    bounds_of_block(y, d, largest, best, second, squared)
    for b in range(n):
        upper[rows[b]], lower[rows[b]] = best[b], second[b]


@fast
@no_type_check
def undecided_rows(x, start, centres, half, moved, most, next_most, fastest, near, upper, lower, rows):
    """Move the bounds of the rows from `start`, and list in `rows` those that they leave open. Returns how many rows
    were looked at: until the list is full."""
    n, i = 0, start
    while i < len(near) and n < ROWS:
        own = near[i]
        if own >= 0:
            upper[i] += moved[own]
            lower[i] -= next_most if own == fastest else most
            beyond = max(lower[i], half[own])
            if upper[i] * SLACK >= beyond:
                squared = 0.0
                for j in range(x.shape[1]):
                    away = x[i, j] - centres[own, j]
                    squared += away * away
                upper[i] = np.sqrt(squared) * SLACK
                if upper[i] * SLACK >= beyond:
                    rows[n] = i
                    n += 1
        else:
            rows[n] = i
            n += 1
        i += 1
    return i, n


@fast
@no_type_check
def keep_labels(labels, rows, n, near, which, upper, lower):
    """A row with a label belongs to that cluster, and no bound may ever leave it open."""
    for b in range(n):
        i = rows[b]
        if labels[i] >= 0:
            which[b] = labels[i]
            upper[i], lower[i] = 0, np.inf


@fast
@no_type_check
def assign_rows(
    x, weights, labels, centres, first, middle, coefficients, half, moved, largest, memory, near, upper, lower,
    weight, total, square, count,
):  # fmt: skip
    """Assign the rows whose bounds leave their cluster open, and change the sums. Returns the sizes of the changes.

    near (n,): the cluster of each row, -1 for one that has not been assigned yet. upper, lower (n,): the bounds before
    the centres moved, by `moved` (k,).
    """
    rows, which, size, at = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64), 0.0, 0
    fastest = np.argmax(moved)
    most, next_most = moved[fastest], 0.0
    for j in range(len(moved)):
        if j != fastest:
            next_most = max(next_most, moved[j])
    while at < len(x):
        at, n = undecided_rows(
            x, at, centres, half, moved, most, next_most, fastest, near, upper, lower, rows
        )  # fmt: skip
        if n:
            assign_block(x, rows, n, middle, coefficients, largest, memory, len(first), which, upper, lower)
            if len(labels):
                keep_labels(labels, rows, n, near, which, upper, lower)
            size += change_clusters(x, weights, rows, n, first, which, near, weight, total, square, count)
    return size


@fast
@no_type_check
def distortion_of(centres, first, weight, total, square):
    """The distortion of the present clusters at these centres, and the size of its largest terms."""
    found, size = 0.0, 0.0
    for i in range(len(centres)):
        cross, length = 0.0, 0.0
        for j in range(centres.shape[1]):
            away = centres[i, j] - first[i, j]
            cross += away * total[i, j]
            length += away * away
        found += square[i] - 2 * cross + weight[i] * length
        size += abs(square[i]) + 2 * abs(cross) + weight[i] * length
    return found, size


@fast
@no_type_check
def move_centres(centres, first, weight, total, moved):
    """Move each centre to the mean of its rows, and note how far. Returns whether any has moved."""
    any_moved = False
    for i in range(len(centres)):
        squared = 0.0
        for j in range(centres.shape[1]):
            new = first[i, j] + total[i, j] / weight[i]
            squared += (new - centres[i, j]) ** 2
            centres[i, j] = new
        moved[i] = np.sqrt(squared) * SLACK
        any_moved = any_moved or squared > 0
    return any_moved


@fast
@no_type_check
def forget(centres, first, near, weight, total, square, count, added):
    """Let the next pass assign every row and sum about the present centres."""
    first[:] = centres
    near[:] = -1
    weight[:], total[:], square[:], count[:] = 0, 0, 0, 0
    added[0], added[1] = 0, 1


@fast
@no_type_check
def settle(centres, first, moved, near, weight, total, square, count, added, at, distortions):
    """The end of a pass, once every row is assigned: keep the centres in `at` and move them to the means.

    distortions (2,) of the assignment: at these centres, and at the means. Returns AGAIN if the rows must be assigned
    once more, since the sums have lost digits; FIXED if no centre moves; PLAIN if a cluster is empty; else GOING.

    added (2,): the sizes of all that was added to the sums of squares and subtracted; whether all rows were assigned in
    this pass.
    """
    distortion, size = distortion_of(centres, first, weight, total, square)
    if not added[0] + size <= CANCELLED * distortion and added[1] == 0:
        forget(centres, first, near, weight, total, square, count, added)
        return AGAIN
    added[1] = 0
    if not np.isfinite(distortion) or np.min(count) == 0:
        return PLAIN
    at[:] = centres
    distortions[0] = max(distortion, 0.0)
    any_moved = move_centres(centres, first, weight, total, moved)
    distortions[1] = max(distortion_of(centres, first, weight, total, square)[0], 0.0)
    return GOING if any_moved else FIXED


@fast
@no_type_check
def kmeans_passes(
    x, weights, labels, centres, first, middle, coefficients, half, moved, memory, near, upper, lower,
    weight, total, square, count, added, path, distortions,
):  # fmt: skip
    """Passes of k-means from these centres (k, d), which end as those of the pass after the last one made.

    path[t] (k, d) and distortions[t] (2,): as `settle` fills them in pass t. Returns how many passes were made, and
    GOING, FIXED or PLAIN.
    """
    for t in range(len(path)):
        largest = prepare_centres(centres, middle, coefficients, half)
        state = AGAIN if np.isfinite(largest) else PLAIN
        while state == AGAIN:
            added[0] += assign_rows(
                x, weights, labels, centres, first, middle, coefficients, half, moved, largest, memory, near, upper,
                lower, weight, total, square, count,
            )  # fmt: skip
            state = settle(centres, first, moved, near, weight, total, square, count, added, path[t], distortions[t])
        if state != GOING:
            return t + (state == FIXED), state
    return len(path), GOING
