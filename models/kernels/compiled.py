"""The E-step in compiled code: once through the rows, a block of them at a time, which stays in the cache of its
processor from the first product to the last sum. `soft` is for log densities that are linear in statistics of a row,
`coded` for columns of codes, `hard` for k-means. `reference.py` of the tests says in ten lines each what they compute.

Arrays are feature-major, (what, rows of the block), so that every inner loop runs along memory and is done by whole
vectors; matrix products go by tiles that fit the registers. Nothing holds Python's lock, so that threads share the rows
out. All is in one file, because what numba keeps on disk is that of a file as it was: it would not see another one
change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from numba import njit, types
from numba.extending import intrinsic, overload

from .parallel_rows import ROWS
from .special_functions import LOG2_E

# A matrix product goes by tiles of so many components by so many statistics, of which numbers in all that a processor
# has registers for: four by six with 32 of them, four by three with 16. Matrices are padded to whole tiles.
COMPONENTS, STATISTICS = 4, 6
PANEL = 32 * STATISTICS  # in single precision so many statistics are added up first: it has few digits
IMPOSSIBLE = -1e29  # log densities below are of what no member can give
FEW = 24  # clusters: of up to so many a matrix product finds the sums of rows sooner than going row by row
DIGITS = 1e5  # squared lengths over squared distances, up to which their difference is as good as a sum of squares


def kernel(fastmath: set[str]) -> Callable[[Callable], Any]:
    """A decorator: compile for the types of the first call, and keep it on disk, where that can be written to."""
    options = {"fastmath": fastmath, "error_model": "numpy", "nogil": True}

    def decorate(function: Callable) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # there is no folder for it
            return njit(**options)(function)

    return decorate


fast = kernel({"contract", "reassoc", "nsz"})  # the order of sums is free, but no number is taken to be finite


# numbers and their bits


@intrinsic
def bits(context, number):
    """The whole number that the bits of a floating-point number are."""
    whole = {types.float64: types.int64, types.float32: types.int32}[number]
    return whole(number), lambda to, builder, _, arguments: builder.bitcast(arguments[0], to.get_value_type(whole))


@intrinsic
def from_bits(context, whole):
    """`bits` undone."""
    number = {types.int64: types.float64, types.int32: types.float32}[whole]
    return number(whole), lambda to, builder, _, arguments: builder.bitcast(arguments[0], to.get_value_type(number))


@intrinsic
def whole_vectors(context):
    """Said first in a function: use vectors of 512 bits where the processor has them. Compilers take half of it, as
    the clocks of early ones fell under whole ones; products of matrices take a quarter longer for it."""

    def generate(context, builder, signature, arguments):
        attributes = builder.function.attributes
        if isinstance(attributes, set):  # whose own `add` knows words alone; should that change, vectors are shorter
            set.add(attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate


def exp2(x):
    """2^x for x of at most 0, within 2 units of the last digit; 0 where it is so small that products with it could fall
    below the normal numbers, which take processors many times as long."""


@overload(exp2, jit_options={"fastmath": {"contract"}, "error_model": "numpy"})
@no_type_check
def _exp2(x):
    single = x == types.float32
    number, whole, digits, bias = (np.float32, np.int32, 23, 127) if single else (np.float64, np.int64, 52, 1023)
    least, zero, half = number(-90 if single else -960), number(0), number(1.5 * 2.0**digits)
    # Taylor's series of 2^f, |f| <= 1/2: the next term is 2e-17
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12 = (
        number(math.log(2) ** i / math.factorial(i)) for i in range(13)
    )

    def found(x):
        shifted = x + half  # the last digits are now those of the nearest whole number
        f = x - (shifted - half)
        p = c12
        p = ((((p * f + c11) * f + c10) * f + c9) * f + c8) * f + c7
        p = ((((p * f + c6) * f + c5) * f + c4) * f + c3) * f + c2
        p = (p * f + c1) * f + c0
        power = p * from_bits(whole((bits(shifted) + bias) << digits))  # type: ignore[call-arg]
        return zero if x < least else power

    return found


@kernel({"contract"})
@no_type_check
def log2(x):
    """log2 x for normal x > 0, within 3 units of the last digit: by the series of the inverse hyperbolic tangent."""
    b = bits(x)
    exponent, mantissa = (b >> 52) - 1023, from_bits((b & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000)
    above = mantissa > 1.4142135623730951
    mantissa, exponent = (0.5 * mantissa, exponent + 1) if above else (mantissa, exponent)
    s = (mantissa - 1) / (mantissa + 1)
    z = s * s
    p = 1 / 21
    p = ((((p * z + 1 / 19) * z + 1 / 17) * z + 1 / 15) * z + 1 / 13) * z + 1 / 11
    p = ((((p * z + 1 / 9) * z + 1 / 7) * z + 1 / 5) * z + 1 / 3) * z + 1
    return exponent + 2 * LOG2_E * s * p if x == x else x


# blocks of rows


@fast
@no_type_check
def load(x, start, centre, y):
    """Rows from `start` into y (1 + d, rows): a row of ones, and the columns less the centre; 0 beyond the last row."""
    n = min(y.shape[1], len(x) - start)
    y[0] = 1
    for b in range(n):
        for j in range(x.shape[1]):
            y[1 + j, b] = x[start + b, j] - centre[j]
    y[1:, n:] = 0
    return n


@fast
@no_type_check
def weigh(weights, start, n, w):
    """The weights of n rows from `start`, 1 where there are none; 0 beyond the last row."""
    w[:n] = 1
    if len(weights):
        w[:n] = weights[start : start + n]
    w[n:] = 0


@fast
@no_type_check
def restrict(labels, start, n, k, joint):
    """Rows whose component is known have no other: of the n from `start`, in every k rows of joint."""
    for b in range(n if len(labels) else 0):
        if labels[start + b] >= 0:
            for i in range(len(joint)):
                if i % k != labels[start + b]:
                    joint[i, b] = -np.inf


@fast
@no_type_check
def products(y, left, right, s, t):
    """The statistics s .. s + 5 of the rows: each a product of two rows of y."""
    whole_vectors()
    for i in range(STATISTICS):
        one, other = left[s + i], right[s + i]
        for b in range(y.shape[1]):
            t[i, b] = y[one, b] * y[other, b]


@fast
@no_type_check
def six(matrix, i, s):
    """Numbers s .. s + 5 of row i."""
    return matrix[i, s], matrix[i, s + 1], matrix[i, s + 2], matrix[i, s + 3], matrix[i, s + 4], matrix[i, s + 5]


@fast
@no_type_check
def times(coefficients, s, t, joint):
    """joint += coefficients[:, s .. s + 5] t, four components at a time."""
    whole_vectors()
    for i in range(0, len(joint), COMPONENTS):
        a0, a1, a2, a3, a4, a5 = six(coefficients, i, s)
        b0, b1, b2, b3, b4, b5 = six(coefficients, i + 1, s)
        c0, c1, c2, c3, c4, c5 = six(coefficients, i + 2, s)
        d0, d1, d2, d3, d4, d5 = six(coefficients, i + 3, s)
        for b in range(t.shape[1]):
            t0, t1, t2, t3, t4, t5 = t[0, b], t[1, b], t[2, b], t[3, b], t[4, b], t[5, b]
            joint[i, b] += a0 * t0 + a1 * t1 + a2 * t2 + a3 * t3 + a4 * t4 + a5 * t5
            joint[i + 1, b] += b0 * t0 + b1 * t1 + b2 * t2 + b3 * t3 + b4 * t4 + b5 * t5
            joint[i + 2, b] += c0 * t0 + c1 * t1 + c2 * t2 + c3 * t3 + c4 * t4 + c5 * t5
            joint[i + 3, b] += d0 * t0 + d1 * t1 + d2 * t2 + d3 * t3 + d4 * t4 + d5 * t5


@fast
@no_type_check
def add_to(joint, panel):
    """joint += panel, panel = 0."""
    whole_vectors()
    for i in range(len(joint)):
        for b in range(joint.shape[1]):
            joint[i, b] += panel[i, b]
            panel[i, b] = 0


@fast
@no_type_check
def outer(share, t, total, s):
    """total[:, s .. s + 5] += share t', four components and three statistics at a time."""
    whole_vectors()
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
            add_three(total, i, s + j, a0, a1, a2)
            add_three(total, i + 1, s + j, b0, b1, b2)
            add_three(total, i + 2, s + j, c0, c1, c2)
            add_three(total, i + 3, s + j, d0, d1, d2)


@fast
@no_type_check
def add_three(total, i, s, one, two, three):
    """Adds to the numbers s .. s + 2 of row i."""
    total[i, s] += one
    total[i, s + 1] += two
    total[i, s + 2] += three


@fast
@no_type_check
def along(w, t, found, s):
    """found[s .. s + 5] += t w."""
    whole_vectors()
    for i in range(STATISTICS):
        total = t.dtype.type(0)
        for b in range(t.shape[1]):
            total += w[b] * t[i, b]
        found[s + i] += total


@fast
@no_type_check
def shares(joint, first, k, w, peak, mass):
    """Of the rows the log2 joint densities first .. first + k - 1 to responsibilities times row weights w, in place;
    returns the sum of w log2 of the densities' sums."""
    whole_vectors()
    rows = joint.shape[1]
    for b in range(rows):
        peak[b] = joint[first, b]
        mass[b] = 0
    for i in range(first + 1, first + k):
        for b in range(rows):
            peak[b] = max(peak[b], joint[i, b])
    for i in range(first, first + k):
        for b in range(rows):
            e = exp2(joint[i, b] - peak[b])
            joint[i, b] = e
            mass[b] += e
    bound = 0.0
    for b in range(rows):
        all_of_it = np.float64(mass[b])
        bound += w[b] * (log2(all_of_it) + (peak[b] if peak[b] > IMPOSSIBLE else -np.inf))
        mass[b] = w[b] / all_of_it
    for i in range(first, first + k):
        for b in range(rows):
            joint[i, b] *= mass[b]
    return bound


@fast
@no_type_check
def soft(x, weights, labels, centre, left, right, coefficients, k, memory, total, common, bound):
    """E-step: adds to total (kp, p) the sums of responsibilities times statistics, to common (q,) the sums over rows of
    those that all components share, and to bound (copies,) that of the rows, in bits.

    x (n, d); weights, labels (n,), or empty; centre (d,); left, right (p + q,): which two of (1, x - centre) each
    statistic is the product of; coefficients (kp, p) of k components of each copy in turn, times log2 e; memory:
    (10 + d + 2 kp, ROWS), of the type to compute in. p, q and kp are padded to whole tiles.
    """
    kp, p = coefficients.shape
    d = len(centre)
    w, peak, mass, y, t = memory[0], memory[1], memory[2], memory[3 : 4 + d], memory[4 + d : 10 + d]
    joint = memory[10 + d : 10 + d + kp]
    single = memory.itemsize == 4
    panel = memory[10 + d + kp :] if single else joint
    for start in range(0, len(x), ROWS):
        n = load(x, start, centre, y)
        weigh(weights, start, n, w)
        joint[:] = 0
        panel[:] = 0
        for s in range(0, p, STATISTICS):
            products(y, left, right, s, t)
            times(coefficients, s, t, panel)
            if single and s % PANEL == PANEL - STATISTICS:
                add_to(joint, panel)
        if single:
            add_to(joint, panel)
        restrict(labels, start, n, k, joint)
        for copy in range(len(bound)):
            bound[copy] += shares(joint, copy * k, k, w, peak, mass)
        if not np.isfinite(bound.sum()):  # some cell is no number: the caller will see to it
            return
        for s in range(0, p, STATISTICS):
            products(y, left, right, s, t)
            outer(joint, t, total, s)
        for s in range(p, len(left), STATISTICS):
            products(y, left, right, s, t)
            along(w, t, common, s - p)


@fast
@no_type_check
def joined(cells, first, levels, place, offset, sums, codes):
    """Of the rows in `cells` (d, rows) the joint code of each group of columns, codes (g, rows); returns whether all
    cells are codes."""
    whole_vectors()
    wrong = 0
    for g in range(len(offset)):
        sums[:] = offset[g]
        for j in range(first[g], first[g + 1]):
            for b in range(len(sums)):
                cell = cells[j, b]
                right = (cell >= 0) & (cell < levels[j]) & (cell == np.floor(cell))
                wrong += 0 if right else 1
                sums[b] += place[j] * (cell if right else 0.0)
        for b in range(len(sums)):
            codes[g, b] = np.int64(sums[b])
    return wrong == 0


@fast
@no_type_check
def look_up(table, codes, n, joint):
    """joint (kp, rows): of the first n rows the sums over groups of what their codes have in the table (c, kp)."""
    for b in range(n):
        for i in range(0, len(joint), COMPONENTS):
            a0 = a1 = a2 = a3 = 0.0
            for g in range(len(codes)):
                c = codes[g, b]
                a0, a1, a2, a3 = a0 + table[c, i], a1 + table[c, i + 1], a2 + table[c, i + 2], a3 + table[c, i + 3]
            joint[i, b], joint[i + 1, b], joint[i + 2, b], joint[i + 3, b] = a0, a1, a2, a3


@fast
@no_type_check
def put_in(share, codes, n, total):
    """`look_up` turned round: total[codes of a row] += share of the row."""
    for b in range(n):
        for i in range(0, len(share), COMPONENTS):
            r0, r1, r2, r3 = share[i, b], share[i + 1, b], share[i + 2, b], share[i + 3, b]
            for g in range(len(codes)):
                c = codes[g, b]
                total[c, i] += r0
                total[c, i + 1] += r1
                total[c, i + 2] += r2
                total[c, i + 3] += r3


@fast
@no_type_check
def coded(x, weights, labels, first, levels, place, offset, table, k, memory, total, bound):
    """E-step of columns of codes, of which those of a group make one joint code: adds to total (c, kp) the
    responsibilities of the rows of each joint code, and to bound (copies,) that of the rows, in bits, or NaN if a cell
    is no code.

    x (n, d); weights, labels (n,), or empty; first (g + 1,): the first column of each group; levels, place (d,): of
    each column how many there are, and what it counts in its group; offset (g,): where the codes of each group begin;
    table (c, kp): their log probabilities under k components of each copy in turn, times log2 e, padded; memory: (3 +
    d + kp, ROWS) of float64.
    """
    w, peak, mass, cells, joint = memory[0], memory[1], memory[2], memory[3 : 3 + len(place)], memory[3 + len(place) :]
    codes = np.empty((len(offset), ROWS), np.int64)
    for start in range(0, len(x), ROWS):
        n = min(ROWS, len(x) - start)
        for b in range(n):
            for j in range(len(place)):
                cells[j, b] = x[start + b, j]
        cells[:, n:] = 0
        if not joined(cells, first, levels, place, offset, peak, codes):
            bound[:] = np.nan
            return
        weigh(weights, start, n, w)
        look_up(table, codes, n, joint)
        joint[:, n:] = 0
        restrict(labels, start, n, k, joint)
        for copy in range(len(bound)):
            bound[copy] += shares(joint, copy * k, k, w, peak, mass)
        put_in(joint, codes, n, total)


@fast
@no_type_check
def largest(joint, k, best, which):
    """Of the rows the largest of the first k numbers, and which it is, of equal ones the first."""
    whole_vectors()
    for b in range(joint.shape[1]):
        best[b], which[b] = joint[0, b], 0
    for i in range(1, k):
        for b in range(joint.shape[1]):
            number, most, first = joint[i, b], best[b], which[b]
            best[b] = number if number > most else most
            which[b] = i if number > most else first


@fast
@no_type_check
def distances(y, best, w, limit, found):
    """|y - c|^2 of the rows, from c . y - |c|^2 / 2; returns how many are above a limit, or NaN, those beyond the last
    row counted as well, the sum of w times them, and of w |y|^2."""
    whole_vectors()
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
        beyond += 0 if found[b] <= limit else 1  # counted, as a largest one is not found by whole vectors
    return beyond, distance, length


@fast
@no_type_check
def hits(which, w, joint):
    """Row weights w to the components of the rows, 0 to others."""
    whole_vectors()
    for i in range(len(joint)):
        for b in range(len(w)):
            joint[i, b] = w[b] if which[b] == i else 0.0


@fast
@no_type_check
def moved(x, n, centres, j, w, total):
    """Adds w (x[n] - centres[j]) to total[j]; returns the square of its length, but for w."""
    squared = 0.0
    for m in range(x.shape[1]):
        away = x[n, m] - centres[j, m]
        squared += away * away
        total[j, m] += w * away
    return squared


@fast
@no_type_check
def hard(x, weights, labels, middle, centres, coefficients, memory, weight, total, sums, row, squared, cluster):
    """The assignment of k-means: each row to its label, or the centre of the largest c . y - |c|^2 / 2, y = x - middle.

    Adds to weight (k,) and total (k, d) the weights of the rows of each centre and the sums of what leads to them from
    there, to sums (2,) the row weights times squared distances and the row weights. The rows furthest from their
    centres, but for those with labels: their numbers to row (k,), from 0 here, their squared distances to squared (k,),
    less than 0 where there are fewer rows, and their centres to cluster (k,).

    x (n, d); weights, labels (n,), or empty; centres (k, d); coefficients (kp, p), padded, of (1, y); memory: (3 + p +
    kp, ROWS) of float64.
    """
    kp, p = coefficients.shape
    k, d = centres.shape
    w, best, away, y, joint = memory[0], memory[1], memory[2], memory[3 : 3 + p], memory[3 + p :]
    nearest, tally = np.empty(ROWS, np.int64), np.zeros((kp, p))
    y[1 + d :] = 0
    squared[:] = -1
    least = 0  # the place of the least of `squared`
    for start in range(0, len(x), ROWS):
        n = load(x, start, middle, y[: 1 + d])
        weigh(weights, start, n, w)
        joint[:] = 0
        for s in range(0, p, STATISTICS):
            times(coefficients, s, y[s : s + STATISTICS], joint)
        largest(joint, k, best, nearest)
        together, beyond = k <= FEW and len(labels) == 0, n
        if together:
            beyond, distance, length = distances(y[: 1 + d], best, w, squared[least], away)
            together = distance * DIGITS > length
        if together:
            hits(nearest, w, joint)
            for s in range(0, p, STATISTICS):
                outer(joint, y[s : s + STATISTICS], tally, s)
            sums[0] += distance
        # one by one only where that is how they are summed, or some row may be among the furthest, or NaN
        for b in range(0 if together and beyond == 0 else n):
            known = len(labels) > 0 and labels[start + b] >= 0
            if known:
                nearest[b] = labels[start + b]
            if not together:
                away[b] = moved(x, start + b, centres, nearest[b], w[b], total)
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
