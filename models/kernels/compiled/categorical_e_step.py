"""The compiled E-step of columns of category codes, by tables of joint codes."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from .block_sizes import COMPONENTS, ROWS
from .compile_kernel import fast
from .floating_point import wide_vectors
from .responsibilities import to_responsibilities
from .row_blocks import exclude_other_labels, load_weights


@fast
@no_type_check
def joint_codes_of(cells, first, levels, base, offset, sums, codes):
    """Compute the joint code of each group of columns of the rows in `cells` (d, rows), into codes (g, rows).

    Returns whether all cells are valid codes.
    """
    wide_vectors()
    wrong = 0
    for g in range(len(offset)):
        sums[:] = offset[g]
        for j in range(first[g], first[g + 1]):
            for b in range(len(sums)):
                cell = cells[j, b]
                right = (cell >= 0) & (cell < levels[j]) & (cell == np.floor(cell))
                wrong += 0 if right else 1
                sums[b] += base[j] * (cell if right else 0.0)
        for b in range(len(sums)):
            codes[g, b] = np.int64(sums[b])
    return wrong == 0


@fast
@no_type_check
def look_up_log_probs(table, codes, n, joint):
    """joint (kp, rows): for each of n rows the sum over groups of the entries of table (c, kp) at its codes."""
    for b in range(n):
        for i in range(0, len(joint), COMPONENTS):
            a0 = a1 = a2 = a3 = 0.0
            for g in range(len(codes)):
                c = codes[g, b]
                a0, a1, a2, a3 = a0 + table[c, i], a1 + table[c, i + 1], a2 + table[c, i + 2], a3 + table[c, i + 3]
            joint[i, b], joint[i + 1, b], joint[i + 2, b], joint[i + 3, b] = a0, a1, a2, a3


@fast
@no_type_check
def add_by_code(share, codes, n, total):
    """total[code] += share of the row, for each code of each row: the transpose of `look_up_log_probs`."""
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
def categorical_e_step(x, weights, labels, first, levels, base, offset, table, k, memory, total, bound):
    """E-step of columns of category codes, where the columns of a group form one joint code.

    Adds to total (c, kp) the responsibilities of the rows with each joint code, and to bound (copies,) the bound of the
    rows in bits, or NaN if a cell is not a valid code.

    x (n, d); weights, labels (n,), or empty; first (g + 1,): the first column of each group; levels, base (d,): the
    number of levels of each column, and the factor of its code in the joint code of its group; offset (g,): where the
    codes of each group begin; table (c, kp): log probabilities of the joint codes under the k components of each copy
    in turn, times log2 e, padded; memory (3 + d + kp, ROWS) of float64.
    """
    w, peak, mass, cells, joint = memory[0], memory[1], memory[2], memory[3 : 3 + len(base)], memory[3 + len(base) :]
    codes = np.empty((len(offset), ROWS), np.int64)
    for start in range(0, len(x), ROWS):
        n = min(ROWS, len(x) - start)
        for b in range(n):
            for j in range(len(base)):
                cells[j, b] = x[start + b, j]
        cells[:, n:] = 0
        if not joint_codes_of(cells, first, levels, base, offset, peak, codes):
            bound[:] = np.nan
            return
        load_weights(weights, start, n, w)
        look_up_log_probs(table, codes, n, joint)
        joint[:, n:] = 0
        exclude_other_labels(labels, start, n, k, joint)
        for copy in range(len(bound)):
            bound[copy] += to_responsibilities(joint, copy * k, k, w, peak, mass)
        add_by_code(joint, codes, n, total)
