"""The compiled E-step of log densities that are linear in statistics of a row: Gaussians and exponential families."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from .block_sizes import PANEL, ROWS, STATISTICS
from .compile_kernel import fast
from .responsibilities import to_responsibilities
from .row_blocks import exclude_other_labels, load_rows, load_weights
from .tiles import add_outer_product, add_product, add_weighted_sums, flush_panel, statistics_tile


@fast
@no_type_check
def linear_e_step(x, weights, labels, centre, left, right, coefficients, k, memory, total, common, bound):
    """E-step of log densities that are linear in statistics of a row.

    Adds to total (kp, p) the sums of responsibilities times the components' statistics, to common (q,) the weighted
    sums of the statistics that all components share, and to bound (copies,) the bound of the rows in bits.

    x (n, d); weights, labels (n,), or empty; centre (d,); left, right (p + q,): each statistic is the product of two
    entries of (1, x - centre), numbers left and right; coefficients (kp, p) of the k components of each copy in turn,
    times log2 e; memory (10 + d + 2 kp, ROWS), in the precision to compute in. p, q and kp are padded to full tiles.
    """
    kp, p = coefficients.shape
    d = len(centre)
    w, peak, mass, y, t = memory[0], memory[1], memory[2], memory[3 : 4 + d], memory[4 + d : 10 + d]
    joint = memory[10 + d : 10 + d + kp]
    single = memory.itemsize == 4
    panel = memory[10 + d + kp :] if single else joint
    for start in range(0, len(x), ROWS):
        n = load_rows(x, start, centre, y)
        load_weights(weights, start, n, w)
        joint[:] = 0
        panel[:] = 0
        for s in range(0, p, STATISTICS):
            statistics_tile(y, left, right, s, t)
            add_product(coefficients, s, t, panel)
            if single and s % PANEL == PANEL - STATISTICS:
                flush_panel(joint, panel)
        if single:
            flush_panel(joint, panel)
        exclude_other_labels(labels, start, n, k, joint)
        for copy in range(len(bound)):
            bound[copy] += to_responsibilities(joint, copy * k, k, w, peak, mass)
        if not np.isfinite(bound.sum()):  # some value is NaN or infinite: the caller says which
            return
        for s in range(0, p, STATISTICS):
            statistics_tile(y, left, right, s, t)
            add_outer_product(joint, t, total, s)
        for s in range(p, len(left), STATISTICS):
            statistics_tile(y, left, right, s, t)
            add_weighted_sums(w, t, common, s - p)
