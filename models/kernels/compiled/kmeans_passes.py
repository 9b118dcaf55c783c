"""Many compiled passes of k-means in one call. Rows whose nearest centre cannot have changed are not visited.

For each row there are an upper bound of the distance to its own centre and a lower bound of that to any other (Hamerly,
SIAM International Conference on Data Mining 2010, 130-140). A pass moves both by as much as the centres have moved, and
visits the rows where they do not decide. The assignment is that of `kmeans_step`; sums change by the rows that change
their cluster.

Longer than its neighbours: the passes share fourteen arrays.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from .block_sizes import ROWS, STATISTICS
from .compile_kernel import fast
from .floating_point import wide_vectors
from .kmeans_start import squared_distance
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
def add_row(x, n, w, first, j, weight, total, square):
    """Add w times a row to the sums of cluster j, about first[j]. Returns what was added to its sum of squares."""
    squared = 0.0
    for m in range(x.shape[1]):
        away = x[n, m] - first[j, m]
        squared += away * away
        total[j, m] += w * away
    weight[j] += w
    square[j] += w * squared
    return w * squared


@fast
@no_type_check
def change_cluster(x, n, w, first, new, near, weight, total, square, count):
    """Move a row to another cluster. Returns the sizes of what was added and subtracted."""
    size = add_row(x, n, w, first, new, weight, total, square)
    count[new] += 1
    if near[n] >= 0:
        size -= add_row(x, n, -w, first, near[n], weight, total, square)
        count[near[n]] -= 1
    near[n] = new
    return size


@fast
@no_type_check
def visit_rows(
    x, weights, rows, n, first, middle, coefficients, largest, memory, near, upper, lower, weight, total, square, count
):
    """Assign n rows to their nearest centres. Returns the sizes of what was added to the sums and subtracted."""
    kp, p = coefficients.shape
    k, d = first.shape
    m = -(-n // VECTOR) * VECTOR
    y, joint = memory[: p * m].reshape(p, m), memory[p * m : (p + kp) * m].reshape(kp, m)
    best, second, which = np.empty(m), np.empty(m), np.empty(m, np.int64)
    y[0] = 1
    y[1 + d :] = 0
    for b in range(n):
        for j in range(d):
            y[1 + j, b] = x[rows[b], j] - middle[j]
    y[1:, n:] = 0
    joint[:] = 0
    for s in range(0, p, STATISTICS):
        add_product(coefficients, s, y[s : s + STATISTICS], joint)
    nearest_two(joint, k, best, second, which)
    size = 0.0
    for b in range(n):
        i, squared = rows[b], 0.0
        for j in range(1, 1 + d):
            squared += y[j, b] * y[j, b]
        error = 4 * (d + 4) * EPSILON * (squared + largest)
        upper[i] = np.sqrt(max(squared - 2 * best[b], 0.0) + error)
        lower[i] = np.sqrt(max(squared - 2 * second[b] - error, 0.0))
        if which[b] != near[i]:
            w = weights[i] if len(weights) else 1.0
            size += change_cluster(x, i, w, first, which[b], near, weight, total, square, count)
    return size


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
    rows, n, size = np.empty(ROWS, np.int64), 0, 0.0
    fastest = np.argmax(moved)
    most, next_most = moved[fastest], 0.0
    for j in range(len(moved)):
        if j != fastest:
            next_most = max(next_most, moved[j])
    for i in range(len(x)):
        own = near[i]
        if own < 0:
            if len(labels) and labels[i] >= 0:  # it keeps its cluster
                upper[i], lower[i] = 0, np.inf
                w = weights[i] if len(weights) else 1.0
                size += change_cluster(x, i, w, first, labels[i], near, weight, total, square, count)
                continue
        else:
            upper[i] += moved[own]
            lower[i] -= next_most if own == fastest else most
            beyond = max(lower[i], half[own])
            if upper[i] * SLACK < beyond:
                continue
            squared = squared_distance(x[i], centres[own])
            upper[i] = np.sqrt(squared) * SLACK
            if upper[i] * SLACK < beyond:
                continue
        rows[n] = i
        n += 1
        if n == ROWS:
            size += visit_rows(
                x, weights, rows, n, first, middle, coefficients, largest, memory, near, upper, lower,
                weight, total, square, count,
            )  # fmt: skip
            n = 0
    if n:
        size += visit_rows(
            x, weights, rows, n, first, middle, coefficients, largest, memory, near, upper, lower,
            weight, total, square, count,
        )  # fmt: skip
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
            state = settle(
                centres, first, moved, near, weight, total, square, count, added, path[t], distortions[t]
            )
        if state != GOING:
            return t + (state == FIXED), state
    return len(path), GOING
